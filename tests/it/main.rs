//! The whole binary, met as its users meet it: by real clients, through real proxies, scraped by a real Prometheus, fed
//! what it must refuse, killed and restarted.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod beside;
mod board;
mod clients;
mod configuration;
mod doctor;
mod documents;
mod durability;
mod ends;
mod following;
mod harness;
mod hostile;
mod images;
mod instructions;
mod nginx;
mod openapi;
mod operators;
mod page;
mod polling;
mod publish;
mod service;
mod shared_cache;
mod sharing;
mod streams;
mod tls;
mod zoo;
