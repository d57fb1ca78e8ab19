//! The store's contract on the memory store, with ordinary and with tiny limits.

use base::Clock;
use std::sync::Arc;
use store_api::suite::{self, Traits};
use store_mem::{EngineOptions, Limits, MemStore};

fn store(options: EngineOptions) -> Arc<dyn store_api::Store> {
    let start = "2026-01-01T00:00:00Z".parse().expect("a time");
    Arc::new(MemStore::new(options, Clock::virtual_from(start)))
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_keeps_the_contract() {
    let options = EngineOptions {
        watch_buffer: 50,
        ..EngineOptions::default()
    };
    suite::run(
        Traits {
            slow_reader: Some(50),
            ..Traits::all()
        },
        async || store(options),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_memory_store_serves_all_checks_at_once() {
    let store = store(EngineOptions::default());
    suite::run(Traits::all(), async || store.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn a_history_of_a_few_bytes_still_keeps_the_contract() {
    let limits = Limits {
        history_events: 150,
        history_bytes: 1000,
        ..Limits::default()
    };
    let options = EngineOptions {
        limits,
        watch_buffer: 50,
        ..EngineOptions::default()
    };
    suite::run(
        Traits {
            slow_reader: Some(50),
            ..Traits::all()
        },
        async || store(options),
    )
    .await;
}
