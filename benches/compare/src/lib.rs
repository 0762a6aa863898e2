//! The fan-out of several servers, measured side by side: `benches/compare/run`.
//!
//! Every server is a black box that is spoken to over HTTP. What is counted is what its process tree takes of the
//! processor and of memory, as the kernel says, and whether each subscriber got each event exactly once, in order.
//!
//! ```text
//! main → rounds → scenario → {load → {wire, ledger, marker}, peer → {process, server}}; report reads what rounds wrote
//! ```
//!
//! | module | is |
//! |---|---|
//! | `load` | the load generator: one thread, edge-triggered epoll, raw sockets |
//! | `wire` | answers and event streams, read as far as the measurement needs |
//! | `marker`, `ledger` | what each event carries; what of it a subscriber got |
//! | `peer` | the servers: how they are started, stopped and spoken to |
//! | `server` | the servers that are ours: the bare loop, the naive one, Pushpin's backend |
//! | `scenario` | what is asked of a server, one file a question |
//! | `rounds` | which server is asked what, and when |
//! | `report` | tables, verdicts and plots from what was measured |

pub mod clock;
pub mod histogram;
pub mod ledger;
pub mod load;
pub mod marker;
pub mod peer;
pub mod process;
pub mod report;
pub mod rounds;
pub mod scenario;
pub mod server;
pub mod wire;
