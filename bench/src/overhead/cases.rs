//! What is asked of every proxy, and with how many connections.

use std::net::SocketAddr;

use clap::ValueEnum as _;

use crate::bodies::{Answer, Shape};

#[derive(Clone, Copy)]
pub(super) struct Case {
    shape: Shape,
    answer: Answer,
    pub(super) connections: u16,
    /// Requests a second; `None`: as many as there can be.
    pub(super) per_second: Option<u32>,
}

/// A rate that every proxy here carries, so that each of them waits as often as the others. Who is asked as fast as it can
/// answer keeps its peers from ever falling asleep, and saves what waking them costs.
const SAME_RATE: u32 = 10_000;

/// Small bodies first, so that their memory is not that of the large ones.
pub(super) fn cases(quick: bool) -> Vec<Case> {
    let series: [(Shape, Answer, &[u16]); 4] = [
        (Shape::Chat, Answer::Json, if quick { &[32] } else { &[1, 32, 128] }),
        (Shape::Chat, Answer::Sse, if quick { &[32] } else { &[1, 32, 128] }),
        // One paced stream costs less CPU in a run than `/proc` can tell.
        (Shape::Chat, Answer::Paced, if quick { &[128] } else { &[32, 128] }),
        (Shape::Large, Answer::Json, if quick { &[32] } else { &[1, 32, 128] }),
    ];
    let with = |&(shape, answer, connections): &(Shape, Answer, &'static [u16])| {
        connections.iter().map(move |&connections| Case { shape, answer, connections, per_second: None })
    };
    let same_rate = Case { shape: Shape::Chat, answer: Answer::Json, connections: 32, per_second: Some(SAME_RATE) };
    std::iter::once(same_rate).chain(series.iter().flat_map(with)).collect()
}

impl Case {
    /// What kind of request this is, whatever the number of connections.
    pub(super) fn kind(&self) -> &'static str {
        match (self.shape, self.answer) {
            (Shape::Large, _) => "400 KB prompt",
            (_, Answer::Json) if self.per_second.is_some() => "json 10k/s",
            (_, Answer::Json) => "json",
            (_, Answer::Sse) => "sse 32 at once",
            (_, Answer::Paced) => "sse 32 paced",
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{} c={}", self.kind(), self.connections)
    }

    pub(super) fn load_arguments(&self, target: SocketAddr, seconds: f64) -> Vec<String> {
        let shape = self.shape.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut arguments = vec![
            "load".to_owned(),
            format!("--target={target}"),
            format!("--shape={shape}"),
            format!("--answer={}", self.answer.name()),
            format!("--connections={}", self.connections),
            format!("--seconds={seconds}"),
        ];
        arguments.extend(self.per_second.map(|rate| format!("--per-second={rate}")));
        arguments
    }
}
