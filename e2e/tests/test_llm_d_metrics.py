"""llm-d's metrics: every name, type, label and bucket, and the names of before."""

import contextlib
import pathlib
import re
from collections.abc import Iterator

import httpx
import openai
import process
import pytest
from process import MODEL

GENERAL = (".005 .025 .05 .1 .2 .4 .6 .8 1 1.25 1.5 2 3 4 5 6 8 10 15 20 30 45 60 120 180 240 300 360 480 600 900 1200 1800 "
           "2700 3600").split()
FAST = ".0001 .0002 .0005 .001 .002 .005 .01 .02 .05 .1".split()
TPOT = ".0005 .00205 .005 .01 .02 .04 .06 .08 .1 .125 .15 .2 .3 .4 .5 .6 .8 1 2".split()
TOKENS = "1 8 16 32 64 128 256 512 1024 2048 4096 8192 16384 32778 65536 131072 262144 524288 1048576".split()
NTPOT = ".001 .002 .005 .01 .02 .05 .1 .2 .5 1 2 5 10".split()
PROCESSING = ".0005 .001 .002 .005 .01 .015 .025 .04 .06 .1 .25 .5 1 2.5 5 10".split()
ANSWERING = ".0001 .00025 .0005 .001 .0025 .005 .01 .025 .05 .1 .25 .5 1 2.5 5".split()
L = {"model_name", "target_model_name", "fairness_id", "priority"}
M = {"model_name", "target_model_name"}
PLUGIN = {"plugin_name", "plugin_type"}

# Name: (type, labels, bounds of buckets).
EXPORTED = {
    "llm_d_epp_request_total": ("counter", L, None),
    "llm_d_epp_request_error_total": ("counter", L | {"error_code"}, None),
    "llm_d_epp_request_running": ("gauge", L, None),
    "llm_d_epp_request_duration_seconds": ("histogram", L, GENERAL),
    "llm_d_epp_request_size_bytes": ("histogram", L, [str(64 << power) for power in range(25)]),
    "llm_d_epp_response_size_bytes": ("histogram", L, TOKENS[:15]),
    "llm_d_epp_request_input_tokens": ("histogram", L, TOKENS),
    "llm_d_epp_request_cached_tokens": ("histogram", L, TOKENS),
    "llm_d_epp_request_output_tokens": ("histogram", L, TOKENS[:12]),
    "llm_d_epp_request_ttft_seconds": ("histogram", L | {"streaming"}, GENERAL[:24]),
    "llm_d_epp_request_ntpot_seconds": ("histogram", L, NTPOT),
    "llm_d_epp_request_streaming_tpot_seconds": ("histogram", L, TPOT),
    "llm_d_epp_request_streaming_itl_seconds": ("histogram", L, ".001 .005 .01 .02 .04 .06 .08 .1 .15 .2 .3 .5 .75 1 2".split()),
    "llm_d_epp_average_kv_cache_utilization": ("gauge", {"name"}, None),
    "llm_d_epp_average_queue_size": ("gauge", {"name"}, None),
    "llm_d_epp_average_running_requests": ("gauge", {"name"}, None),
    "llm_d_epp_std_dev_kv_cache_utilization": ("gauge", {"name"}, None),
    "llm_d_epp_std_dev_queue_size": ("gauge", {"name"}, None),
    "llm_d_epp_std_dev_running_requests": ("gauge", {"name"}, None),
    "llm_d_epp_ready_endpoints": ("gauge", {"name"}, None),
    "llm_d_epp_per_endpoint_queue_size": ("gauge", {"name", "model_server_endpoint"}, None),
    "llm_d_epp_scheduler_e2e_duration_seconds": ("histogram", set(), FAST),
    "llm_d_epp_scheduler_attempts_total": ("counter", {"status", "target_model_name", "endpoint_name", "namespace", "port"}, None),
    "llm_d_epp_plugin_duration_seconds": ("histogram", PLUGIN | {"extension_point"}, FAST),
    "llm_d_epp_request_processing_duration_seconds": ("histogram", set(), PROCESSING),
    "llm_d_epp_response_processing_duration_seconds": ("histogram", set(), ANSWERING),
    "llm_d_epp_info": ("gauge", {"commit", "build_ref"}, None),
    "llm_d_epp_datalayer_poll_errors_total": ("counter", {"source_type"}, None),
    "llm_d_epp_datalayer_extract_errors_total": ("counter", {"source_type", "extractor_type"}, None),
    "llm_d_epp_prefix_indexer_size": ("gauge", PLUGIN, None),
    "llm_d_epp_prefix_indexer_hit_ratio": ("histogram", PLUGIN, "0 .1 .2 .3 .4 .5 .6 .7 .8 .9 1".split()),
    "llm_d_epp_prefix_indexer_hit_bytes": ("histogram", PLUGIN, ["0", *(str(16 << power) for power in range(13))]),
    "llm_d_epp_inflight_requests": ("gauge", {"endpoint_name", "namespace", "producer_name", "fairness_id", "priority"}, None),
    "llm_d_epp_extproc_streams_inflight": ("gauge", set(), None),
    "llm_d_epp_extproc_stream_duration_seconds": ("histogram", set(), ".001 .005 .01 .05 .1 .5 1 5 10 30 60 120 300 600".split()),
    "llm_d_epp_extproc_streams_total": ("counter", {"code"}, None),
    "llm_d_epp_flow_control_pool_saturation": ("gauge", {"inference_pool", "stage"}, None),
    "llm_d_epp_flow_control_stale_endpoints": ("gauge", {"detector"}, None),
    "llm_d_epp_inflight_tokens": ("gauge", {"endpoint_name", "namespace", "producer_name", "fairness_id", "priority"}, None),
}
# Names of before, which metrics.legacyNames switches.
LEGACY = {
    "inference_objective_request_total": ("counter", M | {"priority"}, None),
    "inference_objective_request_error_total": ("counter", M | {"error_code"}, None),
    "inference_objective_request_duration_seconds": ("histogram", M, GENERAL),
    "inference_objective_request_sizes": ("histogram", M, None),
    "inference_objective_response_sizes": ("histogram", M, None),
    "inference_objective_input_tokens": ("histogram", M, TOKENS),
    "inference_objective_output_tokens": ("histogram", M, None),
    "inference_objective_prompt_cached_tokens": ("histogram", M, None),
    "inference_objective_normalized_time_per_output_token_seconds": ("histogram", M, NTPOT),
    "inference_objective_request_ttft_seconds": ("histogram", M, None),
    "inference_objective_request_tpot_seconds": ("histogram", M, TPOT),
    "inference_objective_running_requests": ("gauge", {"model_name"}, None),
    "inference_pool_average_kv_cache_utilization": ("gauge", {"name"}, None),
    "inference_pool_average_queue_size": ("gauge", {"name"}, None),
    "inference_pool_average_running_requests": ("gauge", {"name"}, None),
    "inference_pool_ready_pods": ("gauge", {"name"}, None),
    "inference_pool_per_pod_queue_size": ("gauge", {"name", "model_server_pod"}, None),
    "inference_extension_scheduler_e2e_duration_seconds": ("histogram", set(), FAST),
    "inference_extension_scheduler_attempts_total": ("counter", {"status", "target_model_name", "pod_name", "namespace", "port"}, None),
    "inference_extension_plugin_duration_seconds": ("histogram", PLUGIN | {"extension_point"}, FAST),
    "inference_extension_flow_control_pool_saturation": ("gauge", {"inference_pool", "stage"}, None),
    "inference_extension_info": ("gauge", {"commit", "build_ref"}, None),
    "inference_extension_prefix_indexer_size": ("gauge", PLUGIN, None),
    "inference_extension_prefix_indexer_hit_ratio": ("histogram", PLUGIN, None),
    "inference_extension_prefix_indexer_hit_bytes": ("histogram", PLUGIN, None),
    "llm_d_inference_scheduler_datalayer_poll_errors_total": ("counter", {"source_type"}, None),
    "llm_d_inference_scheduler_datalayer_extract_errors_total": ("counter", {"source_type", "extractor_type"}, None),
}
# llm-d's families whose engine does not exist here yet, or which nothing has to say: this list can only shrink.
NOT_YET = """
flow_control_request_queue_duration_seconds flow_control_dispatch_cycle_duration_seconds
flow_control_request_enqueue_duration_seconds flow_control_queue_size flow_control_queue_bytes
flow_control_capacity_utilization_requests flow_control_capacity_utilization_bytes
flow_control_global_capacity_utilization_requests flow_control_global_capacity_utilization_bytes flow_control_requests_total
flow_control_revocations_issued_total flow_control_revocations_total flow_control_reclaim_target flow_control_pending_reclaim
flow_control_revocation_confirmation_seconds
program_aware_jains_fairness_index program_aware_avg_wait_time_milliseconds program_aware_attained_service_tokens
inference_request_metric request_predicted_ttft_seconds request_predicted_tpot_seconds request_ttft_prediction_duration_seconds
request_tpot_prediction_duration_seconds request_slo_violation_total
kv_cache_index_admissions_total kv_cache_index_evictions_total kv_cache_index_lookup_requests_total
kv_cache_index_max_pod_hit_count_total kv_cache_index_lookup_hits_total kv_cache_index_lookup_latency_seconds
kv_cache_events_dedup_removed_hashes_suppressed_total kv_cache_events_dedup_removed_hashes_forwarded_total
kv_cache_events_stores_skipped_total kv_cache_events_removals_skipped_total kv_cache_events_active_subscribers
kv_cache_events_pool_queue_depth kv_cache_events_pool_capacity kv_cache_events_subscriber_reconnections_total
kv_cache_events_messages_received_total kv_cache_events_zmq_errors_total
""".split()
# A plugin's undeclared access to data does not compile here, so there is nothing to count.
NEVER = ["plugin_data_scope_violations_total"]

CONFIG = """\
apiVersion: weir.dev/v1alpha1
kind: RouterConfig
listen: {{http: "127.0.0.1:0", admin: "127.0.0.1:0"}}
metrics: {{legacyNames: {legacy}}}
pools:
- name: chat
  endpoints: {{static: [{{name: a, url: "{url}"}}]}}
  scheduling:
    plugins:
    - {{type: queue-scorer}}
    - {{type: prefix-cache-scorer}}
    - {{type: active-request-scorer}}
"""


def parse(page: str) -> dict[str, tuple[str, set[str], list[str]]]:
    kinds, labels, bounds = {}, {}, {}
    for line in page.splitlines():
        if match := re.match(r"# TYPE (\S+) (\S+)", line):
            assert match[1] not in kinds, f"{match[1]} is declared twice"
            kinds[match[1]] = match[2]
        elif match := re.match(r"([^\s{#]+)(?:\{(.*)\})? ", line):
            name = match[1] if match[1] in kinds else re.sub(r"_(bucket|sum|count)$", "", match[1])
            found = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            bound = found.pop("le", None)
            labels.setdefault(name, set()).update(found)
            if bound is not None and bound not in bounds.setdefault(name, []):
                bounds[name].append(bound)
    return {name: (kind, labels.get(name, set()), bounds.get(name, [])) for name, kind in kinds.items()}


def go(number: str) -> str:
    """As Go prints it in the text format."""
    value = float(number)
    digits = f"{value:e}"
    exponent = int(digits.split("e")[1])
    if -4 <= exponent < 6:
        return repr(value).removesuffix(".0")
    mantissa = repr(value / 10.0**exponent).removesuffix(".0")
    return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02}"


@pytest.fixture(scope="module")
def worker() -> Iterator[process.Worker]:
    one = process.Worker("--max-model-len", "8192", "--inter-token-latency", "5ms", "--enable-kvcache", "--kv-cache-size", "4096")
    yield one
    one.stop()


@contextlib.contextmanager
def serving(file: pathlib.Path, worker: process.Worker, legacy: str) -> Iterator[process.Router]:
    file.write_text(CONFIG.format(url=worker.url, legacy=legacy), encoding="utf-8")
    router = process.serve(file)
    try:
        yield router
    finally:
        router.stop()


@pytest.fixture(scope="module")
def page(worker: process.Worker, tmp_path_factory: pytest.TempPathFactory) -> str:
    with serving(tmp_path_factory.mktemp("metrics") / "router.yaml", worker, "true") as router:
        return traffic(router)


def traffic(router: process.Router) -> str:
    with openai.OpenAI(base_url=router.url, api_key="unused", max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": "Tell me about the river and its weirs. " * 40}]
        for stream in (False, True):
            answer = client.chat.completions.create(
                model=MODEL, messages=messages, max_tokens=8, stream=stream, extra_body={"ignore_eos": True},
                **({"stream_options": {"include_usage": True}} if stream else {}))
            if stream:
                list(answer)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="nobody", messages=messages)
        # A request that runs while the page is read.
        with client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=4000, stream=True, extra_body={"ignore_eos": True},
        ) as running:
            pieces = iter(running)
            next(pieces)
            return httpx.get(router.admin + "/metrics", timeout=10).text


@pytest.mark.parametrize("name", [*EXPORTED, *LEGACY])
def test_a_family_is_as_llm_d_has_it(page: str, name: str) -> None:
    kind, labels, bounds = {**EXPORTED, **LEGACY}[name]
    found = parse(page)
    assert name in found, f"{name} is not exported"
    assert found[name][0] == kind
    assert found[name][1] == labels
    if bounds is not None:
        assert found[name][2] == [*(go(one) for one in bounds), "+Inf"]


def test_nothing_else_bears_llm_d_s_prefixes(page: str) -> None:
    prefixes = ("llm_d_", "inference_")
    assert {name for name in parse(page) if name.startswith(prefixes)} == {*EXPORTED, *LEGACY}
    assert not {f"llm_d_epp_{name}" for name in [*NOT_YET, *NEVER]} & {*EXPORTED}


def test_help_tells_the_stability(page: str) -> None:
    for name in [*EXPORTED, *LEGACY]:
        assert f"# HELP {name} [ALPHA] " in page, name


def test_values_add_up(page: str) -> None:
    def value(series: str) -> float:
        match = re.search(f"^{re.escape(series)} (\\S+)$", page, re.M)
        assert match, f"{series} is not there"
        return float(match[1])

    labels = f'model_name="{MODEL}",target_model_name="{MODEL}",fairness_id="default-flow",priority="0"'
    assert value(f"llm_d_epp_request_total{{{labels}}}") == 3
    assert value(f"llm_d_epp_request_running{{{labels}}}") == 1
    assert value(f'llm_d_epp_request_ttft_seconds_count{{{labels},streaming="false"}}') == 1
    assert value(f'llm_d_epp_request_ttft_seconds_count{{{labels},streaming="true"}}') == 2
    assert value(f"llm_d_epp_request_output_tokens_sum{{{labels}}}") == 16
    assert value(f"llm_d_epp_request_duration_seconds_count{{{labels}}}") == 2
    assert value('llm_d_epp_ready_endpoints{name="chat"}') == 1
    models = f'model_name="{MODEL}",target_model_name="{MODEL}"'
    assert value(f'inference_objective_request_total{{{models},priority="0"}}') == 3
    assert value(f"inference_objective_request_ttft_seconds_count{{{models}}}") == 3
    # An endpoint without a role decodes.
    for stage in ("decode", "effective"):
        labels = f'inference_pool="chat",stage="{stage}"'
        assert 0 <= value(f"llm_d_epp_flow_control_pool_saturation{{{labels}}}") < 1
    assert 'stage="prefill"' not in page
    assert value('llm_d_epp_flow_control_stale_endpoints{detector="utilization-detector"}') == 0
    inflight = f'endpoint_name="a",namespace="default",producer_name="inflight-load-producer",fairness_id="default-flow",priority="0"'
    assert value(f"llm_d_epp_inflight_requests{{{inflight}}}") == 1


DIVIDED = """\
apiVersion: weir.dev/v1alpha1
kind: RouterConfig
listen: {{http: "127.0.0.1:0", admin: "127.0.0.1:0"}}
pools:
- name: chat
  endpoints: {{static: [{{name: a, url: "{url}", labels: {{app: x, revision: r1, role: decode}}}}]}}
  scheduling:
    plugins:
    - type: disaggregatedset-rollout-screener
      parameters:
        scope: {{labelSelector: {{matchLabels: {{app: x}}}}}}
        headerSelectors: [{{name: slice, headerName: x-slice, labelKey: slice, mode: strict}}]
        revisionGating: {{mode: sum, revisionLabelKey: revision, roleLabelKey: role, requireRoles: {{values: [decode]}}}}
    - {{type: decode-filter}}
    - {{type: {handler}}}
    - {{type: always-disagg-pd-decider}}
    schedulingProfiles: [{{name: decode, plugins: [{{pluginRef: decode-filter}}]}}, {{name: prefill, plugins: []}}]
"""


@pytest.mark.parametrize("handler, family, parameters", [
    ("disagg-profile-handler", "disagg_decision_total", "deciders: {prefill: always-disagg-pd-decider}"),
    ("pd-profile-handler", "pd_decision_total", "deciderPluginName: always-disagg-pd-decider"),
])
def test_divided_requests_and_rollouts(worker: process.Worker, tmp_path: pathlib.Path, handler: str, family: str, parameters: str) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(DIVIDED.format(url=worker.url, handler=f"{handler}, parameters: {{{parameters}}}"), encoding="utf-8")
    router = process.serve(file)
    try:
        process.eventually("the worker is ready", lambda: router.ready_endpoints() == 1)
        body = {"model": MODEL, "prompt": "Hello", "max_tokens": 2}
        assert httpx.post(router.url + "/completions", json=body, timeout=30).status_code == 200
        assert httpx.post(router.url + "/completions", json=body, headers={"x-slice": "none"}, timeout=30).status_code == 503
        page = router.get("/metrics").text
        decided = {"model_name": MODEL, "decision_type": "prefill-decode"}
        assert process.metric(page, f"llm_d_epp_{family}", plugin_type=handler, plugin_name=handler, **decided) == 1
        assert process.metric(page, f"llm_d_inference_scheduler_{family}", **decided) == 1
        screener = {"plugin_type": "disaggregatedset-rollout-screener", "plugin_name": "disaggregatedset-rollout-screener"}
        assert process.metric(page, "llm_d_epp_disaggregatedset_strict_header_no_match_total", selector="slice", **screener) == 1
        assert process.metric(page, "llm_d_epp_disaggregatedset_revision_gating_share", mode="sum", revision="r1", **screener) == 1
    finally:
        router.stop()


IMAGES = """\
apiVersion: weir.dev/v1alpha1
kind: RouterConfig
listen: {{http: "127.0.0.1:0", admin: "127.0.0.1:0"}}
pools:
- name: chat
  endpoints: {{static: [{{name: a, url: "{url}"}}]}}
  scheduling: {{plugins: [{{type: mm-embeddings-cache-scorer}}, {{type: queue-scorer}}]}}
"""


def test_images_that_were_encoded_before(worker: process.Worker, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(IMAGES.format(url=worker.url), encoding="utf-8")
    router = process.serve(file)
    try:
        process.eventually("the worker is ready", lambda: router.ready_endpoints() == 1)
        for images in (["a"], ["a", "b", "a"], []):
            parts = [{"type": "text", "text": "What is it?"}]
            parts += [{"type": "image_url", "image_url": {"url": f"https://images.example/{name}.png"}} for name in images]
            body = {"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": parts}]}
            answer = httpx.post(router.url + "/chat/completions", json=body, timeout=30)
            assert answer.status_code == 200, answer.text
        page = router.get("/metrics").text
    finally:
        router.stop()
    plugin = {"plugin_type": "mm-embeddings-cache-producer", "plugin_name": "mm-embeddings-cache-producer"}
    found = parse(page)
    assert found["llm_d_epp_encoder_cache_queries_total"] == ("counter", PLUGIN | {"modality"}, [])
    assert found["llm_d_epp_encoder_cache_hits_total"] == ("counter", PLUGIN | {"modality", "pod"}, [])
    ratio = found["llm_d_epp_encoder_cache_hit_ratio"]
    assert ratio == ("histogram", PLUGIN, [*(go(one) for one in "0 .1 .2 .3 .4 .5 .6 .7 .8 .9 1".split()), "+Inf"])
    # One image, then two of which one is known.
    assert process.metric(page, "llm_d_epp_encoder_cache_queries_total", modality="image", **plugin) == 3
    assert process.metric(page, "llm_d_epp_encoder_cache_hits_total", modality="image", pod="a", **plugin) == 1
    assert process.metric(page, "llm_d_epp_encoder_cache_hit_ratio_sum", **plugin) == 0.5
    assert process.metric(page, "llm_d_epp_encoder_cache_hit_ratio_count", **plugin) == 2


def test_the_names_of_before_can_be_switched_off(worker: process.Worker, tmp_path: pathlib.Path) -> None:
    with serving(tmp_path / "router.yaml", worker, "false") as router:
        found = set(parse(traffic(router)))
    assert {*EXPORTED} <= found and not {*LEGACY} & found


def test_open_metrics_on_request(router: process.Router) -> None:
    accept = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    answer = httpx.get(router.admin + "/metrics", headers=accept, timeout=10)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n") and "# TYPE llm_d_epp_info gauge" in answer.text
    plain = httpx.get(router.admin + "/metrics", timeout=10)
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4") and "# EOF" not in plain.text
