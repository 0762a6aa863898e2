//! The servers that are ours: what they are measured against, not what is measured.

pub mod bare;
pub mod grip;
pub mod naive;
