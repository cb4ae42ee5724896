use super::*;

#[test]
fn a_server_keeps_what_it_used_last() {
    let mut server = Server::new(3);
    let mut events = weir_prefix::BatchWriter::default();
    server.serve(&[1, 2], &mut events);
    assert_eq!((server.matched(&[1, 2, 3]), server.matched(&[2])), (2, 1));
    server.serve(&[1, 3, 4], &mut events);
    // 2 was used least recently.
    assert_eq!((server.matched(&[1, 2]), server.matched(&[1, 3, 4])), (1, 3));
    server.serve(&[5, 6, 7, 8], &mut events);
    assert_eq!((server.matched(&[5]), server.matched(&[6, 7, 8])), (0, 3));
}

#[test]
fn every_policy_by_hand() {
    let prompts: [&[u32]; 4] = [&[1, 2], &[3], &[1, 2, 4], &[3, 5]];
    let rate = |policy| {
        let out = replay(prompts, 2, 10, policy);
        assert_eq!(out.blocks, 8);
        out.hits
    };
    assert_eq!(rate(Policy::RoundRobin), 3);
    // Loads: 2, then 0 + 1; the third prompt goes to the second server and finds nothing.
    assert_eq!(rate(Policy::LeastLoad), 0);
    assert_eq!(rate(Policy::LongestPrefix), 3);
    assert_eq!(rate(Policy::Saved), 3);
    assert_eq!(replay([], 2, 10, Policy::Saved), Replayed { imbalance: 1.0, ..Replayed::default() });
    assert_eq!(replay([], 2, 10, Policy::Saved).hit_rate(), 0.0);
}

/// What the index was told is what the servers have, whatever they push out.
#[test]
fn the_index_knows_what_the_servers_have() {
    let mut random = fastrand::Rng::with_seed(9);
    for capacity in [3, 20, 200] {
        let mut caches: Vec<Server> = (0..4).map(|_| Server::new(capacity)).collect();
        let mut knowledge = Knowledge::new(Policy::Saved);
        // A tree of prompts in which an id stands for one place.
        for _ in 0..600 {
            let mut id = 0;
            let prompt: Vec<u32> = (0..random.usize(1..8))
                .map(|_| {
                    id = id * 3 + random.u32(1..4);
                    id
                })
                .collect();
            let choice = Choice { number: 0, prompt: &prompt, caches: &caches, loads: &[0; 4] };
            let known = knowledge.known(&choice);
            assert!(caches.iter().map(|cache| cache.matched(&prompt) as u32).eq(known));
            let server = random.usize(..4);
            knowledge.serve(server, &mut caches[server], &prompt);
        }
    }
}
