use weir_pool::{LoraState, Scrape};

use crate::{Engine, EngineMapping, EngineMappings, FamilySpec};

const VLLM: &[u8] = include_bytes!("../../../../../testdata/metrics/vllm.txt");
const VLLM_LORA: &[u8] = include_bytes!("../../../../../testdata/metrics/vllm-lora.txt");
const VLLM_TWO_RANKS: &[u8] = include_bytes!("../../../../../testdata/metrics/vllm-two-ranks.txt");
const SGLANG: &[u8] = include_bytes!("../../../../../testdata/metrics/sglang.txt");
const TRTLLM: &[u8] = include_bytes!("../../../../../testdata/metrics/trtllm-serve.txt");
const TRITON_TRTLLM: &[u8] = include_bytes!("../../../../../testdata/metrics/triton-tensorrt-llm.txt");
const TRITON: &[u8] = include_bytes!("../../../../../testdata/metrics/triton.txt");
const LLAMA_CPP: &[u8] = include_bytes!("../../../../../testdata/metrics/llama-cpp.txt");

fn built_in(name: &str) -> Engine {
    Engine::new(EngineMapping::built_in().into_iter().find(|mapping| mapping.name == name).unwrap())
}

fn vllm(page: &str) -> Scrape {
    built_in("vllm").decode(page.as_bytes())
}

fn queued_as(spec: &str, page: &str) -> Option<u32> {
    let queued: FamilySpec = spec.parse().unwrap();
    Engine::new(EngineMapping { queued: Some(queued), ..EngineMapping::default() }).decode(page.as_bytes()).waiting
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn pages_of_every_built_in_engine() {
    let scrape = |waiting, running, kv_usage, block_size_tokens, num_blocks| Scrape {
        custom: Vec::new(),
        waiting: Some(waiting),
        running: Some(running),
        kv_usage,
        block_size_tokens,
        num_blocks,
        lora: None,
    };
    for (name, page, wanted) in [
        ("vllm", VLLM, scrape(3, 17, Some(0.437_515_255_186_721_9), Some(16), Some(27_702))),
        ("sglang", SGLANG, scrape(2, 11, Some(0.28), Some(1), Some(194_120))),
        ("trtllm-serve", TRTLLM, scrape(1, 8, Some(0.6125), Some(32), Some(8192))),
        ("triton-tensorrt-llm", TRITON_TRTLLM, scrape(4, 6, Some(0.4875), Some(64), Some(6239))),
        ("triton", TRITON, scrape(4, 0, None, None, None)),
    ] {
        assert_eq!(built_in(name).decode(page), wanted, "{name}");
        assert_eq!(EngineMappings::default().detect(page).map(|engine| engine.name()), Some(name));
    }
    assert!(EngineMappings::default().detect(LLAMA_CPP).is_none());
}

#[test]
fn the_newest_adapter_series_counts() {
    let lora = LoraState { active: strings(&["sql-adapter", "chat-adapter"]), waiting: strings(&["legal-adapter"]), max: 4 };
    assert_eq!(built_in("vllm").decode(VLLM_LORA).lora, Some(lora));
    let page = "vllm:lora_requests_info{max_lora=\"x\",running_lora_adapters=\" a ,,b\"} 1\n";
    assert_eq!(vllm(page).lora, Some(LoraState { active: strings(&["a", "b"]), waiting: vec![], max: 0 }));
}

#[test]
fn of_several_series_the_newest_counts_else_the_first() {
    let scrape = built_in("vllm").decode(VLLM_TWO_RANKS);
    assert_eq!((scrape.running, scrape.waiting, scrape.kv_usage), (Some(5), Some(2), Some(0.25)));
    assert_eq!(queued_as("q", "q{r=\"0\"} 1\nq{r=\"1\"} 2 5\nq{r=\"2\"} 3 4\n"), Some(2));
    assert_eq!(queued_as("q", "q{r=\"0\"} 1 7\nq{r=\"1\"} 2 7\nq{r=\"2\"} 3\n"), Some(1));
}

#[test]
fn labels_select_series() {
    let page = "q{a=\"1\",b=\"x\"} 10\nq{ a = \"2\" , b=\"y\", } 20\nq{c=\"}\",a=\"q\\\"u\\\\o\\nte\"} 30\nq 40\n";
    assert_eq!(queued_as("q{a=1}", page), Some(10));
    assert_eq!(queued_as("q{b=y,a=2}", page), Some(20));
    assert_eq!(queued_as(r#"q{a="q\"u\\o\nte"}"#, page), Some(30));
    assert_eq!(queued_as("q{a=3}", page), None);
    assert_eq!(queued_as("q", page), Some(10));
}

#[test]
fn names_must_match_whole() {
    let page = "my_q 1\nq_total 2\nq:x 3\n# q 4\nq\t5\n";
    assert_eq!(queued_as("q", page), Some(5));
}

#[test]
fn numbers_in_every_notation() {
    for (text, wanted) in [
        ("7", Some(7)),
        ("7.0", Some(7)),
        ("1e+03", Some(1000)),
        ("-1", Some(0)),
        ("+Inf", Some(u32::MAX)),
        ("NaN", None),
        ("", None),
        ("seven", None),
        ("7 1758441907000 # {trace_id=\"1\"} 1", Some(7)),
        ("7\r", Some(7)),
    ] {
        assert_eq!(queued_as("q", &format!("q {text}\n")), wanted, "{text:?}");
    }
    assert_eq!(queued_as("q", "q 7"), Some(7), "a last line without its end");
    assert_eq!(vllm("vllm:kv_cache_usage_perc NaN\n").kv_usage, None);
}

#[test]
fn declared_types_do_not_matter() {
    for kind in ["gauge", "counter", "untyped", "unknown"] {
        assert_eq!(vllm(&format!("# TYPE vllm:num_requests_running {kind}\nvllm:num_requests_running 4\n")).running, Some(4));
    }
    assert_eq!(vllm("vllm:num_requests_running 4\n").running, Some(4));
}

#[test]
fn a_page_may_be_anything() {
    let engines: Vec<Engine> = EngineMapping::built_in().into_iter().map(Engine::new).collect();
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let spice = b"{}\"\\=, \n\t#\xff\x000";
    for page in [&VLLM_LORA[..6000], SGLANG, TRTLLM, TRITON_TRTLLM, VLLM_TWO_RANKS] {
        for _ in 0..300 {
            let mut page = page.to_vec();
            for _ in 0..random.usize(1..60) {
                let at = random.usize(..page.len());
                match random.u8(..4) {
                    0 => page[at] = random.u8(..),
                    1 => page[at] = spice[random.usize(..spice.len())],
                    2 => page.truncate(at.max(1)),
                    _ => page.insert(at, spice[random.usize(..spice.len())]),
                }
            }
            for engine in &engines {
                let scrape = engine.decode(&page);
                assert!(scrape.kv_usage.is_none_or(f64::is_finite));
            }
        }
    }
}

#[test]
fn custom_numbers_stand_in_their_order() {
    let mapping = EngineMapping {
        custom: vec![
            ("rate".to_owned(), "my_preemptions{kind=hard}".parse().unwrap()),
            ("none".to_owned(), "my_absent".parse().unwrap()),
            ("load".to_owned(), "other_load".parse().unwrap()),
        ],
        ..EngineMapping::default()
    };
    let page = b"my_preemptions{kind=\"soft\"} 1\nmy_preemptions{kind=\"hard\"} 7.5\nother_load 2 10\nother_load 3 20\n";
    assert_eq!(Engine::new(mapping).decode(page).custom, [Some(7.5), None, Some(3.0)]);
    assert!(Engine::new(EngineMapping::default()).decode(page).custom.is_empty());
}
