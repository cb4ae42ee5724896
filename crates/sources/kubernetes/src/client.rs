//! The way to the API server.

use kube::{
    Api, Client, Config,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use crate::PoolGroup;

/// Why there is no cluster to speak to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account was found, or one of them is wrong.
    #[error("no Kubernetes cluster is configured: {0}")]
    Config(String),
    /// The TLS settings cannot be used.
    #[error("the Kubernetes client cannot be set up: {0}")]
    Client(#[from] kube::Error),
}

/// A client for the cluster of the kubeconfig (`KUBECONFIG`, else `~/.kube/config`), or of the pod that this process runs in. Nothing
/// is asked yet, so the API server may be away.
///
/// # Errors
/// There is no configuration, or it cannot be used.
pub async fn connect() -> Result<Client, ConnectError> {
    let config = Config::infer().await.map_err(|error| ConnectError::Config(error.to_string()))?;
    Ok(Client::try_from(config)?)
}

/// The namespace of the pod that this process runs in; `None` elsewhere.
pub fn namespace() -> Option<String> {
    let text = std::fs::read_to_string("/var/run/secrets/kubernetes.io/serviceaccount/namespace").ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Whether an `InferencePool` exists.
///
/// # Errors
/// The API server does not say.
pub async fn pool_exists(client: Client, namespace: &str, group: PoolGroup, name: &str) -> Result<bool, kube::Error> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group.name(), group.version(), "InferencePool"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
    Ok(api.get_metadata_opt(name).await?.is_some())
}
