//! What was measured, as tables and plots.

mod document;
mod machine;
mod plot;
mod summary;
mod table;

pub use document::write;
pub use machine::Machine;
pub use plot::{Plot, plots};
pub use summary::{Spread, Summary};
pub use table::markdown;
