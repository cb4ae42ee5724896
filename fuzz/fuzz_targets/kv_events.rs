//! KV-cache events: no payload panics, and no list of an event claims more than the payload has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_prefix::{Batch, Event, Extras};

fuzz_target!(|payload: &[u8]| {
    let Ok(batch) = Batch::read(payload) else { return };
    let mut extras = Extras::default();
    let mut seen = 0;
    for event in batch {
        seen += 1;
        match event {
            Ok(Event::Stored(stored)) => {
                stored.extras(&mut extras);
                assert_eq!(stored.tokens.iter().count(), stored.tokens.len());
                assert_eq!(stored.hashes.iter().count(), stored.hashes.len());
                assert!(stored.tokens.len() + stored.hashes.len() <= payload.len());
            }
            Ok(Event::Removed(removed)) => assert_eq!(removed.hashes.iter().count(), removed.hashes.len()),
            Ok(Event::Cleared) | Err(_) => {}
        }
    }
    assert!(seen <= payload.len());
});
