//! Each scenario is a test twice: over the fake API server, and, where `WEIR_KUBE_DIR` names one, over a real one.

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        mod fake {
            $(
                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::cluster::Cluster::fake(stringify!($name)).await).await;
                }
            )*
        }

        mod real {
            $(
                $(#[$doc])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs a real API server: ./test kube"]
                async fn $name() {
                    super::$name(crate::cluster::Cluster::real(stringify!($name)).await).await;
                }
            )*
        }
    };
}
