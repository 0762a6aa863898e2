//! Encke: a gateway for live events on the web.
//!
//! A backend publishes events over HTTP; the gateway keeps them in one internal event stream and renders that stream to
//! every kind of client. Modules stand in the order in which an event travels, and each imports only to its right:
//!
//! ```text
//! main → gateway → {net, http, source, cli} → delivery → {hub → log, transport} → event
//! leaves, plain data in and out: access, diagnosis, logging, metrics, service, shutdown, config
//! ```

pub mod gateway;

pub mod net;

pub mod http;

pub mod source;

pub mod cli;

pub mod delivery;

pub mod hub;

pub mod log;

pub mod transport;

pub mod event;

pub mod access;

pub mod config;

pub mod cores;

pub mod diagnosis;

pub mod logging;

pub mod metrics;

pub mod service;

pub mod shutdown;

#[cfg(target_os = "linux")]
mod sys;
