//! Answers and event streams, read as far as the measurement needs, and as cheaply.

mod answer;
mod content;
mod event_stream;

pub use answer::{Answer, AnswerReader};
pub use content::Content;
pub use event_stream::{EventId, EventStream, Told};
