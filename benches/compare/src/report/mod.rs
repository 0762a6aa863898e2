//! What was measured, as tables and plots.

mod machine;
mod summary;
mod table;

pub use machine::Machine;
pub use summary::{Spread, Summary};
pub use table::markdown;
