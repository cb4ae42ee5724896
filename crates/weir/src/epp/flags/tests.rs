use super::{table::GROUPS, *};

fn line(words: &str) -> Vec<String> {
    words.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn checked(words: &str) -> (Flags, Checked) {
    let Read { mut flags, parsed } = read(&line(words)).expect("it can be read");
    let found = flags.check(&parsed.given, &|_| None).expect("nothing is wrong");
    (flags, found)
}

fn wrong(words: &str) -> Vec<String> {
    match read(&line(words)) {
        Err(errors) => errors,
        Ok(Read { mut flags, parsed }) => flags.check(&parsed.given, &|_| None).expect_err("something is wrong"),
    }
}

#[test]
fn the_help_tells_the_defaults() {
    for flag in GROUPS.iter().flat_map(|(_, flags)| flags.iter()).filter(|flag| !flag.default.is_empty()) {
        let mut flags = Flags::default();
        (flag.set)(&mut flags, flag.default).expect("a default is a value");
        assert_eq!(flags, Flags::default(), "--{} {}", flag.name, flag.default);
    }
}

/// llm-d's own, as its charts, manifests and KServe write them.
#[test]
fn every_flag_of_llm_d_is_known() {
    let flags = "grpc-port grpc-health-port metrics-port pool-name pool-namespace pool-group endpoint-selector \
                 endpoint-target-ports disable-endpoint-subset-filter emit-endpoint-scores refresh-metrics-interval \
                 refresh-prometheus-metrics-interval metrics-staleness-threshold config-file config-text \
                 allow-experimental-plugins ha-enable-leader-election drain-timeout grpc-max-recv-msg-size \
                 grpc-max-send-msg-size secure-serving cert-path enable-cert-reload tls-min-version tls-cipher-suites \
                 metrics-endpoint-auth metrics-cert-dir metrics-client-ca-file health-checking enable-pprof \
                 enable-grpc-stream-metrics tracing v zap-encoder zap-devel zap-log-level zap-stacktrace-level \
                 zap-time-encoding total-queued-requests-metric total-running-requests-metric \
                 kv-cache-usage-percentage-metric lora-info-metric cache-info-metric model-server-metrics-scheme \
                 model-server-metrics-path model-server-metrics-port model-server-metrics-https-insecure-skip-verify";
    for name in flags.split_whitespace() {
        assert!(GROUPS.iter().flat_map(|(_, flags)| flags.iter()).any(|flag| flag.name == name), "--{name}");
    }
}

#[test]
fn what_kserve_passes() {
    let (flags, found) = checked(
        "--pool-name llama-inference-pool --pool-namespace team --zap-encoder json --grpc-port 9002 --grpc-health-port 9003 \
         --enable-cert-reload=true --secure-serving=true --model-server-metrics-scheme=https --cert-path=/var/run/kserve/tls \
         -config-text {} --ha-enable-leader-election --ha-enable-leader-election=false",
    );
    assert_eq!(flags.pool_name.as_deref(), Some("llama-inference-pool"));
    assert_eq!(flags.config_text.as_deref(), Some("{}"));
    assert_eq!(flags.zap.encoder, Some(Encoder::Json));
    assert_eq!(flags.model_server_metrics.scheme.as_deref(), Some("https"));
    assert!(flags.enable_cert_reload && !flags.ha_enable_leader_election);
    assert_eq!(
        found.warnings,
        ["--model-server-metrics-scheme was removed in llm-d 0.10: write the parameters of the plugin metrics-data-source, \
          which it sets now"]
    );
    assert_eq!(found.notice(), None);
}

#[test]
fn removed_flags_say_what_to_write() {
    for flag in ["total-queued-requests-metric", "lora-info-metric", "cache-info-metric"] {
        let errors = wrong(&format!("--{flag}=vllm:x"));
        assert!(errors.len() == 1 && errors[0].contains(flag) && errors[0].contains("engineConfigs"), "{errors:?}");
    }
    checked("--lora-info-metric=");
}

#[test]
fn what_excludes_each_other() {
    assert!(wrong("--config-file a --config-text b")[0].contains("exclude"));
    assert!(wrong("--pool-name a --endpoint-selector b=c --endpoint-target-ports 1")[0].contains("exclude"));
    assert!(wrong("--endpoint-selector b=c")[0].contains("--endpoint-target-ports"));
    assert!(wrong("--endpoint-target-ports 1,2,3,4,5,6,7,8,9")[0].contains("here are 9"));
    assert!(wrong("--grpc-port 1 --metrics-port 1")[0].contains("so is --grpc-port"));
    assert!(wrong("--metrics-client-ca-file a")[0].contains("--metrics-cert-dir"));
    assert!(wrong("--metrics-cert-dir a")[0].contains("cleartext"));
    assert!(wrong("--refresh-metrics-interval 3s")[0].contains("stale"));
    checked("--grpc-port 0 --metrics-port 0 --grpc-health-port 0");
}

#[test]
fn values() {
    let (flags, found) = checked(
        "--refresh-metrics-interval 10ms --metrics-staleness-threshold=1m30s --drain-timeout 0 --grpc-max-recv-msg-size 16MiB \
         --grpc-max-send-msg-size 1k --endpoint-target-ports 8000,8001 --endpoint-target-ports 8000 --v=5",
    );
    assert_eq!(flags.refresh_metrics_interval, Duration::from_millis(50));
    assert_eq!(found.warnings, ["--refresh-metrics-interval 10 ms is raised to 50 ms"]);
    assert_eq!(flags.metrics_staleness_threshold, Duration::from_secs(90));
    assert_eq!(flags.drain_timeout, Duration::ZERO);
    assert_eq!((flags.grpc_max_recv_msg_size, flags.grpc_max_send_msg_size), (Some(16 << 20), Some(1000)));
    assert_eq!(flags.endpoint_target_ports, [8000, 8001]);
    assert_eq!(flags.verbosity, 5);
    for bad in [
        "--grpc-max-recv-msg-size=-1",
        "--grpc-max-recv-msg-size=many",
        "--drain-timeout=5",
        "--drain-timeout=-5s",
        "--grpc-port=70000",
        "--tls-min-version=1.2",
        "--tls-cipher-suites=AES",
        "--zap-encoder=xml",
        "--zap-log-level=loud",
        "--zap-stacktrace-level=x",
        "--zap-time-encoding=x",
        "--model-server-metrics-scheme=ftp",
        "--model-server-metrics-path=metrics",
        "--endpoint-target-ports=8000,x",
    ] {
        let errors = wrong(bad);
        let name = bad.split('=').next().unwrap_or_default();
        assert!(
            errors.len() == 1 && errors[0].starts_with(&format!("{name}: ")) && !errors[0].contains('\n'),
            "{bad}: {errors:?}"
        );
    }
}

#[test]
fn tls() {
    let (flags, found) = checked(
        "--tls-min-version=VersionTLS11 --tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_RC4_128_SHA",
    );
    assert_eq!(flags.tls_cipher_suites, ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    assert_eq!(found.warnings.len(), 2);
    assert!(wrong("--tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA")[0].contains("strong enough"));
    let (_, found) = checked("--secure-serving=false --cert-path /tls");
    assert_eq!(found.notice().as_deref(), Some("accepted without effect: --cert-path (--secure-serving=false: there is no TLS)"));
}

#[test]
fn the_namespace_may_come_from_the_environment() {
    let Read { mut flags, parsed } = read(&[]).expect("it can be read");
    flags.check(&parsed.given, &|name| (name == "NAMESPACE").then(|| "team".to_owned())).expect("nothing is wrong");
    assert_eq!(flags.pool_namespace.as_deref(), Some("team"));
    assert_eq!(checked("").0.pool_namespace.as_deref(), Some("default"));
}

#[test]
fn only_what_was_asked_for_and_has_no_effect_is_named() {
    assert_eq!(checked("").1.notice(), None);
    assert_eq!(checked("--tracing=false --enable-pprof=false --metrics-endpoint-auth=false").1.notice(), None);
    assert_eq!(
        checked("--endpoints-file e --pool-namespace n --tracing --enable-pprof").1.notice().as_deref(),
        Some(
            "accepted without effect: --pool-namespace (--endpoints-file lists the endpoints); --enable-pprof (weir has no use for \
             it)"
        )
    );
}

#[test]
fn selectors_and_groups_are_checked() {
    let errors = wrong("--endpoint-selector app=vllm, --endpoint-target-ports 8000 --pool-group g");
    assert!(errors.iter().any(|one| one.starts_with("--endpoint-selector: ")), "{errors:?}");
    assert!(errors.iter().any(|one| one.starts_with("--pool-group g: ")), "{errors:?}");
}

#[test]
fn a_pod_is_named_after_its_deployment() {
    let named = |pod: &str| {
        let Read { mut flags, parsed } = read(&[]).expect("it can be read");
        flags.check(&parsed.given, &|name| (name == "POD_NAME").then(|| pod.to_owned())).expect("nothing is wrong");
        flags.deployment
    };
    assert_eq!(named("chat-epp-5d8f7c9b4-x2x4z").as_deref(), Some("chat-epp"));
    assert_eq!((named("epp-0"), named("-a-b"), named("a-B-c")), (None, None, None));
}
