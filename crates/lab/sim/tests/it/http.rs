//! vLLM's endpoints, through a socket.

use serde_json::{Value, json};

use crate::support::{call, get, post, send, series, timed, worker};
use weir_sim::{FailureKind, LoraModule, Mode, Pod, SimConfig};

fn kv(config: SimConfig) -> SimConfig {
    config.sized(1024, 16, 8)
}

#[tokio::test]
async fn a_chat_completion_has_all_its_fields() {
    let sim = worker(SimConfig { mode: Mode::Echo, ..SimConfig::new("m") }).await;
    let messages = json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hello, you!"}]}]);
    let reply = call(&sim, "/v1/chat/completions", json!({"model": "m", "messages": messages})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let body = reply.json();
    assert!(body["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("m")));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    let choice = &body["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": "Hello, you!"}));
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("stop")));
    // "### system: Be brief.\n" has 8 tokens, "### user: Hello, you!\n" 9.
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 17, "completion_tokens": 4, "total_tokens": 21, "prompt_tokens_details": null})
    );
}

#[tokio::test]
async fn a_text_completion_counts_prompts_once_and_all_choices() {
    let sim = worker(SimConfig::new("m")).await;
    let request = json!({"model": "m", "prompt": ["one two", "three"], "n": 2, "max_tokens": 9, "ignore_eos": true});
    let body = call(&sim, "/v1/completions", request).await.json();
    assert_eq!(body["object"], "text_completion");
    assert!(body["id"].as_str().unwrap().starts_with("cmpl-"));
    let choices = body["choices"].as_array().unwrap();
    let facts: Vec<(u64, &str)> =
        choices.iter().map(|choice| (choice["index"].as_u64().unwrap(), choice["finish_reason"].as_str().unwrap())).collect();
    assert_eq!(facts, [(0, "length"), (1, "length"), (2, "length"), (3, "length")]);
    assert_eq!((&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]), (&json!(3), &json!(36)));
    let ids = json!({"model": "m", "prompt": [[5, 6, 7]], "max_tokens": 1});
    assert_eq!(call(&sim, "/v1/completions", ids).await.json()["usage"]["prompt_tokens"], 3);
}

#[tokio::test]
async fn stop_strings_and_seeds() {
    let sim = worker(SimConfig { mode: Mode::Echo, ..SimConfig::new("m") }).await;
    let request = |stop: Value| json!({"model": "m", "prompt": "one two three", "stop": stop, "max_tokens": 50});
    let body = call(&sim, "/v1/completions", request(json!(["thr", "nope"]))).await.json();
    assert_eq!((&body["choices"][0]["text"], &body["choices"][0]["stop_reason"]), (&json!("one two "), &json!("thr")));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");

    let sim = worker(SimConfig::new("m")).await;
    let request = json!({"model": "m", "prompt": "x", "max_tokens": 100, "seed": 4});
    let text = |body: Value| body["choices"][0]["text"].as_str().unwrap().to_owned();
    let first = text(call(&sim, "/v1/completions", request.clone()).await.json());
    assert_eq!(text(call(&sim, "/v1/completions", request).await.json()), first);
}

/// Names and data of the events of a stream.
fn named(reply: &crate::support::Reply) -> Vec<(String, Value)> {
    let events = reply.text.split("\n\n").filter(|event| !event.is_empty());
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(Some(data["type"].as_str().unwrap()), name.strip_prefix("event: "));
        (data["type"].as_str().unwrap().to_owned(), data)
    };
    events.map(event).collect()
}

#[tokio::test]
async fn anthropic_messages() {
    let sim = worker(kv(SimConfig { mode: Mode::Echo, ..SimConfig::new("m") })).await;
    let request = |stream: bool| {
        json!({
            "model": "m", "max_tokens": 50, "stream": stream, "system": [{"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "Hello, you!"}]}]}],
        })
    };
    let body = call(&sim, "/v1/messages", request(false)).await.json();
    assert!(body["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&body["type"], &body["role"], &body["stop_reason"]),
        (&json!("message"), &json!("assistant"), &json!("end_turn"))
    );
    assert_eq!(body["content"], json!([{"type": "text", "text": "Hello, you!"}]));
    // "### system: Be brief.\n" has 8 tokens, "### user: Hello, you!\n" 9.
    assert_eq!((&body["usage"]["input_tokens"], &body["usage"]["output_tokens"]), (&json!(17), &json!(4)));
    let counted = call(&sim, "/v1/messages/count_tokens", request(false)).await.json();
    assert_eq!(counted, json!({"input_tokens": 17}));

    let reply = call(&sim, "/v1/messages", request(true)).await;
    let events = named(&reply);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let deltas = ["content_block_delta"; 4];
    assert_eq!(
        names,
        [
            &["message_start", "content_block_start", "ping"][..],
            &deltas,
            &["content_block_stop", "message_delta", "message_stop"]
        ]
        .concat()
    );
    assert_eq!(events[0].1["message"]["usage"]["cache_read_input_tokens"], 16, "the repeated prompt came from the cache");
    let text: String = events[3..7].iter().map(|(_, data)| data["delta"]["text"].as_str().unwrap()).collect();
    assert_eq!(text, "Hello, you!");
    assert_eq!((&events[8].1["delta"]["stop_reason"], &events[8].1["usage"]["output_tokens"]), (&json!("end_turn"), &json!(4)));

    let mut bad = request(false);
    bad["model"] = json!("nope");
    let reply = call(&sim, "/v1/messages", bad).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["error"]["type"]), (404, &json!("not_found_error")));
    let missing = call(&sim, "/v1/messages", json!({"messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!(
        missing.json(),
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens is required"}})
    );
}

#[tokio::test]
async fn responses() {
    let sim = worker(kv(SimConfig { mode: Mode::Echo, ..SimConfig::new("m") })).await;
    let request = json!({"model": "m", "instructions": "Be brief.", "input": "Hello, you!", "max_output_tokens": 50});
    let body = call(&sim, "/v1/responses", request.clone()).await.json();
    assert_eq!((&body["object"], &body["status"]), (&json!("response"), &json!("completed")));
    assert_eq!(body["output"][0]["content"][0]["text"], "Hello, you!");
    assert_eq!(
        (&body["usage"]["input_tokens"], &body["usage"]["output_tokens"], &body["usage"]["total_tokens"]),
        (&json!(17), &json!(4), &json!(21))
    );
    let mut streamed = request;
    streamed["stream"] = json!(true);
    let events = named(&call(&sim, "/v1/responses", streamed).await);
    let numbers: Vec<u64> = events.iter().map(|(_, data)| data["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let (name, last) = &events[events.len() - 1];
    assert_eq!((name.as_str(), &last["response"]["usage"]["output_tokens"]), ("response.completed", &json!(4)));
    let text: String = events
        .iter()
        .filter(|(name, _)| name == "response.output_text.delta")
        .map(|(_, data)| data["delta"].as_str().unwrap())
        .collect();
    assert_eq!(text, "Hello, you!");
    let short = json!({"model": "m", "input": [{"role": "user", "content": "one two three"}], "max_output_tokens": 2, "ignore_eos": true});
    let body = call(&sim, "/v1/responses", short).await.json();
    assert_eq!((&body["status"], &body["incomplete_details"]["reason"]), (&json!("incomplete"), &json!("max_output_tokens")));
}

#[tokio::test]
async fn tokens_in_tokens_out() {
    let sim = worker(kv(SimConfig::new("m"))).await;
    let request = json!({"token_ids": [1, 2, 3], "sampling_params": {"max_tokens": 5, "ignore_eos": true}});
    let body = call(&sim, "/inference/v1/generate", request.clone()).await.json();
    assert_eq!(body["choices"][0]["token_ids"].as_array().unwrap().len(), 5);
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    let mut streamed = request;
    streamed["stream"] = json!(true);
    let chunks = chunks(&call(&sim, "/inference/v1/generate", streamed).await);
    assert_eq!(chunks.len(), 6);
    assert_eq!(
        (&chunks[3]["choices"][0]["finish_reason"], &chunks[4]["choices"][0]["finish_reason"]),
        (&json!(null), &json!("length"))
    );
    assert_eq!((&chunks[5]["usage"]["prompt_tokens"], &chunks[5]["usage"]["completion_tokens"]), (&json!(3), &json!(5)));
    for (body, message) in [
        (json!({"sampling_params": {}}), "Missing input token_ids"),
        (json!({"token_ids": [1]}), "Missing sampling_params field"),
    ] {
        assert_eq!(call(&sim, "/inference/v1/generate", body).await.json()["error"]["message"], message);
    }
}

fn chunks(reply: &crate::support::Reply) -> Vec<Value> {
    let mut events = reply.events();
    assert_eq!(events.pop().unwrap(), "[DONE]");
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[tokio::test]
async fn a_chat_stream_is_framed_as_vllm_does() {
    let sim = worker(SimConfig { mode: Mode::Echo, ..timed(5, 1) }).await;
    let request = json!({
        "model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_completion_tokens": 3, "max_tokens": 1,
        "messages": [{"role": "user", "content": "say \"hi\" é"}],
    });
    let reply = call(&sim, "/v1/chat/completions", request).await;
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let chunks = chunks(&reply);
    let deltas: Vec<&Value> = chunks[..chunks.len() - 1].iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas[0], &json!({"role": "assistant", "content": ""}));
    let texts: Vec<&str> = deltas[1..deltas.len() - 1].iter().map(|delta| delta["content"].as_str().unwrap()).collect();
    assert_eq!(texts, ["say ", "\"", "hi", "\" ", "é"]);
    assert_eq!(deltas[deltas.len() - 1], &json!({}));
    let reasons: Vec<&Value> = chunks[..chunks.len() - 1].iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).collect();
    assert!(reasons[..reasons.len() - 1].iter().all(|reason| reason.is_null()));
    assert_eq!(reasons[reasons.len() - 1], "length");
    let last = &chunks[chunks.len() - 1];
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(5)));
    for chunk in &chunks {
        assert_eq!((&chunk["object"], &chunk["created"]), (&json!("chat.completion.chunk"), &chunks[0]["created"]));
        assert_eq!(chunk["id"], chunks[0]["id"]);
        assert!(chunk.as_object().unwrap().contains_key("usage"));
    }
}

#[tokio::test]
async fn a_text_stream_interleaves_its_choices() {
    let sim = worker(timed(2, 2)).await;
    let request = json!({"model": "m", "stream": true, "prompt": "x", "n": 2, "max_tokens": 10, "ignore_eos": true});
    let chunks = chunks(&call(&sim, "/v1/completions", request).await);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion" && chunk["usage"].is_null()));
    let order: Vec<u64> = chunks.iter().map(|chunk| chunk["choices"][0]["index"].as_u64().unwrap()).collect();
    assert_eq!(order.iter().filter(|&&index| index == 1).count(), 11);
    assert_eq!(chunks.len(), 22);
    let last_of_first = order.iter().rposition(|&index| index == 0).unwrap();
    assert!(order[..last_of_first].contains(&1));
}

#[tokio::test]
async fn stop_strings_that_swallow_tokens_do_not_stall_a_stream() {
    let sim = worker(SimConfig { mode: Mode::Echo, ..timed(1, 1) }).await;
    let request = json!({"model": "m", "stream": true, "prompt": "a b c d e f", "stop": "b c d e", "max_tokens": 50});
    let chunks = chunks(&call(&sim, "/v1/completions", request).await);
    let text: String = chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!((text.as_str(), &chunks[1]["choices"][0]["finish_reason"]), ("a ", &json!("stop")));
}

#[tokio::test]
async fn repeated_prompts_are_cached() {
    let sim = worker(kv(SimConfig::new("m"))).await;
    let prompt = vec!["word"; 100].join(" ");
    let request = json!({"model": "m", "prompt": prompt, "max_tokens": 5});
    let cached = |body: Value| body["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    assert_eq!(cached(call(&sim, "/v1/completions", request.clone()).await.json()), 0);
    assert_eq!(cached(call(&sim, "/v1/completions", request.clone()).await.json()), 96);
    let page = get(&sim, "/metrics").await.text;
    assert_eq!(series(&page, "vllm:prefix_cache_queries_total", ""), 200.0);
    assert_eq!(series(&page, "vllm:prefix_cache_hits_total", ""), 96.0);
    assert_eq!(send(sim.addr(), post("/reset_prefix_cache", "")).await.status, 200);
    assert_eq!(cached(call(&sim, "/v1/completions", request).await.json()), 0);
}

#[tokio::test]
async fn an_answer_sent_back_is_cached_too() {
    let sim = worker(kv(SimConfig::new("m"))).await;
    let prompt = format!("{} ", vec!["word"; 40].join(" "));
    let request = json!({"model": "m", "prompt": prompt, "max_tokens": 60, "ignore_eos": true});
    let answer = call(&sim, "/v1/completions", request).await.json()["choices"][0]["text"].as_str().unwrap().to_owned();
    let next = json!({"model": "m", "prompt": format!("{prompt}{answer}and more"), "max_tokens": 1});
    let cached = call(&sim, "/v1/completions", next).await.json()["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    assert_eq!(cached, 96, "99 of the first request's 100 tokens went through the engine: six full blocks");
}

async fn error(sim: &weir_sim::SimHandle, path: &str, body: Value) -> (u16, String, String) {
    let reply = call(sim, path, body).await;
    let body = reply.json();
    assert_eq!(body["error"]["code"], reply.status.as_u16());
    let text = |key: &str| body["error"][key].as_str().unwrap().to_owned();
    (reply.status.as_u16(), text("type"), text("message"))
}

#[tokio::test]
async fn errors_are_openai_errors_also_before_streams() {
    let sim = worker(SimConfig::new("m")).await;
    let (chat, text) = ("/v1/chat/completions", "/v1/completions");
    let cases = [
        (text, json!({"model": "x", "prompt": "a"}), 404, "The model `x` does not exist."),
        (text, json!({"model": "m"}), 400, "prompt is missing"),
        (text, json!({"model": "m", "prompt": []}), 400, "prompt array must contain at least one prompt"),
        (text, json!({"model": "m", "prompt": ["a", ""]}), 400, "must not contain an empty string"),
        (text, json!({"model": "m", "prompt": 3}), 400, "Failed to read and parse request body, "),
        (text, json!({"model": "m", "prompt": "a", "n": 0}), 400, "n must be at least 1"),
        (
            text,
            json!({"model": "m", "prompt": "a", "max_tokens": 0}),
            400,
            "Max completion tokens and max tokens should be positive",
        ),
        (text, json!({"model": "m", "prompt": "a", "ignore_eos": true}), 400, "Ignore_eos is true but"),
        (
            text,
            json!({"model": "m", "prompt": "a b c", "max_tokens": 1022, "stream": true}),
            400,
            "This model's maximum context length is 1024 tokens. However, you requested 1025 tokens (3 in the messages, 1022 in the completion).",
        ),
        (chat, json!({"model": "m", "messages": []}), 400, "messages must contain"),
    ];
    for (path, body, status, message) in cases {
        let (got, kind, text) = error(&sim, path, body.clone()).await;
        assert_eq!(got, status, "{body}");
        assert!(text.contains(message), "{body}: {text}");
        assert_eq!(kind, if status == 404 { "NotFoundError" } else { "BadRequestError" });
    }
    let broken = send(sim.addr(), post(text, "{\"model\":")).await;
    assert_eq!(broken.status, 400);
    assert_eq!(get(&sim, text).await.status, 405);
    assert_eq!(get(&sim, "/nowhere").await.status, 404);
    let large = json!({"model": "m", "prompt": "x".repeat(5 << 20)});
    assert_eq!(error(&sim, text, large).await.0, 413);
    let stats = sim.stats();
    assert_eq!((stats.running, stats.waiting), (0, 0), "refused requests leave nothing behind");
}

#[tokio::test]
async fn a_full_queue_is_429() {
    let sim = worker(SimConfig { max_num_seqs: 1, max_waiting: 1, ..timed(10_000, 1) }).await;
    let request = json!({"model": "m", "prompt": "a", "max_tokens": 2, "stream": true}).to_string();
    let addr = sim.addr();
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(send(addr, post("/v1/completions", &request)))).collect();
    crate::support::until("one runs and one waits", || sim.stats().running == 1 && sim.stats().waiting == 1).await;
    let (status, kind, message) = error(&sim, "/v1/completions", serde_json::from_str(&request).unwrap()).await;
    assert_eq!((status, kind.as_str()), (429, "RateLimitError"));
    assert_eq!(message, "Failed to enqueue request, waiting requests queue is full");
    let load = get(&sim, "/load").await.json();
    assert_eq!(load, json!({"server_load": 2}));
    for task in held {
        task.abort();
    }
}

#[tokio::test]
async fn models_and_adapters() {
    let base = SimConfig::new("org/model");
    let module = LoraModule { name: "l1".to_owned(), path: "/l1".to_owned(), base_model_name: String::new() };
    let sim = worker(SimConfig { served_names: vec!["a".to_owned(), "b".to_owned()], lora_modules: vec![module], ..base }).await;
    let reply = call(&sim, "/v1/load_lora_adapter", json!({"lora_name": "l2", "lora_path": "/l2"})).await;
    assert_eq!(reply.status, 200);
    let models = get(&sim, "/v1/models").await.json();
    let rows: Vec<[Value; 3]> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| [model["id"].clone(), model["root"].clone(), model["parent"].clone()])
        .collect();
    assert_eq!(json!(rows), json!([["a", "org/model", null], ["b", "org/model", null], ["l1", "/l1", "a"], ["l2", "/l2", "a"]]));
    assert_eq!((&models["object"], &models["data"][0]["max_model_len"]), (&json!("list"), &json!(1024)));

    let ask = |model: &str| json!({"model": model, "prompt": "hi", "max_tokens": 2});
    assert_eq!(call(&sim, "/v1/completions", ask("b")).await.json()["model"], "a");
    assert_eq!(call(&sim, "/v1/completions", ask("l2")).await.json()["model"], "l2");
    assert_eq!(error(&sim, "/v1/completions", ask("org/model")).await.0, 404, "only the aliases are served");

    assert_eq!(error(&sim, "/v1/load_lora_adapter", json!({"lora_name": "l2", "lora_path": "/"})).await.0, 400);
    assert_eq!(call(&sim, "/v1/unload_lora_adapter", json!({"lora_name": "l2"})).await.status, 200);
    assert_eq!(error(&sim, "/v1/unload_lora_adapter", json!({"lora_name": "l2"})).await.0, 404);
    assert_eq!(error(&sim, "/v1/completions", ask("l2")).await.0, 404);
}

#[tokio::test]
async fn running_and_waiting_adapters_are_told() {
    let module = |name: &str| LoraModule { name: name.to_owned(), path: String::new(), base_model_name: String::new() };
    let sim = worker(SimConfig { lora_modules: vec![module("x"), module("y")], ..timed(10_000, 1) }).await;
    let addr = sim.addr();
    let ask = |model: &str| post("/v1/completions", &json!({"model": model, "prompt": "a", "max_tokens": 2}).to_string());
    let first = tokio::spawn(send(addr, ask("x")));
    crate::support::until("x runs", || sim.stats().running == 1).await;
    let second = tokio::spawn(send(addr, ask("y")));
    crate::support::until("y waits", || sim.stats().waiting == 1).await;
    let page = get(&sim, "/metrics").await.text;
    let label = r#"max_lora="1",running_lora_adapters="x",waiting_lora_adapters="y""#;
    assert!(series(&page, "vllm:lora_requests_info", label) > 1.7e9);
    assert_eq!(series(&page, "vllm:num_requests_running", r#"engine="0",model_name="m""#), 1.0);
    assert_eq!(series(&page, "vllm:num_requests_waiting", ""), 1.0);
    first.abort();
    second.abort();
}

#[tokio::test]
async fn metrics_tell_what_was_served() {
    let sim = worker(SimConfig { metrics_padding_bytes: 40_000, ..kv(SimConfig::new("m")) }).await;
    let request = json!({"model": "m", "prompt": "one two three", "max_tokens": 7, "ignore_eos": true});
    call(&sim, "/v1/completions", request).await;
    let reply = get(&sim, "/metrics").await;
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    let page = reply.text;
    assert!(page.len() >= 40_000);
    assert_eq!(series(&page, "vllm:prompt_tokens_total", ""), 3.0);
    assert_eq!(series(&page, "vllm:generation_tokens_total", ""), 7.0);
    assert_eq!(series(&page, "vllm:request_success_total", "finished_reason=\"length\""), 1.0);
    assert_eq!(series(&page, "vllm:inter_token_latency_seconds_count", ""), 6.0);
    assert_eq!(series(&page, "vllm:request_params_max_tokens_sum", ""), 7.0);
    assert_eq!(series(&page, "vllm:cache_config_info", "block_size=\"16\""), 1.0);
}

#[tokio::test]
async fn tokens_there_and_back() {
    let sim = worker(SimConfig::new("m")).await;
    let body = call(&sim, "/tokenize", json!({"model": "m", "prompt": "Hello, how are you?"})).await.json();
    let ids = json!([4116459851u32, 2312110321u32, 1946735703, 3692005271u32, 1354289308, 973910158]);
    assert_eq!(body, json!({"count": 6, "max_model_len": 1024, "tokens": ids, "token_strs": null}));
    let back = call(&sim, "/detokenize", json!({"model": "m", "tokens": [4116459851u32, 2312110321u32, 7]})).await.json();
    assert_eq!(back, json!({"prompt": "Hello, \u{fffd}"}));
    let chat = json!({"messages": [{"role": "user", "content": "Hello!"}], "return_token_strs": true});
    let body = call(&sim, "/tokenize", chat).await.json();
    assert_eq!(body["token_strs"], json!(["#", "#", "# ", "user", ": ", "Hello", "!\n"]));
    let both = json!({"prompt": "a", "messages": []});
    assert_eq!(call(&sim, "/tokenize", both).await.status, 400);
}

#[tokio::test]
async fn embeddings_are_deterministic() {
    let sim = worker(SimConfig::new("m")).await;
    let body = call(&sim, "/v1/embeddings", json!({"model": "m", "input": [1, 2, 300], "dimensions": 5})).await.json();
    let expected = json!([-0.998046875, -0.99609375, -0.4140625, -0.9921875, -0.984375]);
    assert_eq!(body["data"][0]["embedding"], expected);
    assert_eq!(body["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
    let coded = json!({"model": "m", "input": ["a", "b"], "dimensions": 2, "encoding_format": "base64"});
    let body = call(&sim, "/v1/embeddings", coded).await.json();
    assert_eq!(body["data"][1]["embedding"].as_str().unwrap().len(), 12);
    assert_eq!(error(&sim, "/v1/embeddings", json!({"model": "z", "input": "a"})).await.0, 404);
}

#[tokio::test]
async fn health_identity_and_demanded_errors() {
    let pod = Pod { name: Some("pod-1".to_owned()), namespace: Some("ns".to_owned()), ..Pod::default() };
    let startup = std::time::Duration::from_secs(600);
    let sim = worker(SimConfig { pod, startup, request_id_headers: true, ..SimConfig::new("m") }).await;
    for path in ["/health", "/ping", "/version"] {
        assert_eq!(get(&sim, path).await.status, 200, "{path}");
    }
    assert_eq!(get(&sim, "/health/ready").await.status, 503);
    let mut request = post("/v1/completions", &json!({"model": "m", "prompt": "a"}).to_string());
    request.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    let reply = send(sim.addr(), request).await;
    assert_eq!(reply.headers["x-inference-pod"], "pod-1");
    assert_eq!(reply.headers["x-inference-port"], sim.addr().port().to_string());
    assert_eq!(reply.headers["x-inference-namespace"], "ns");
    assert_eq!((&reply.headers["x-request-id"], &reply.json()["id"]), (&"mine".parse().unwrap(), &json!("cmpl-mine")));

    for (value, status) in [("418", 418), ("503", 503), ("abc", 400)] {
        let mut request = post("/v1/completions", &json!({"model": "m", "prompt": "a"}).to_string());
        request.headers_mut().insert("x-return-error", value.parse().unwrap());
        assert_eq!(send(sim.addr(), request).await.status, status);
    }

    let failing = SimConfig { failure_percent: 100, failure_kinds: vec![FailureKind::ServerError], ..SimConfig::new("m") };
    let sim = worker(failing).await;
    assert_eq!(get(&sim, "/health/ready").await.status, 200);
    let (status, _, message) = error(&sim, "/v1/completions", json!({"model": "m", "prompt": "a"})).await;
    assert_eq!((status, message.as_str()), (503, "The server is overloaded or not ready yet."));
}
