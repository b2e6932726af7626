//! TLS on the delivery port of either kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names;

/// TLS on the delivery port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// Secret in the same namespace, of type kubernetes.io/tls: the certificate chain as tls.crt, its key as tls.key. A changed
    /// Secret is served without a restart, a missing one is waited for.
    #[schemars(length(min = 1, max = 253), regex(pattern = names::SECRET_NAME_PATTERN))]
    pub secret_name: String,
}

/// Entry of the Secret with the certificate chain in PEM.
pub const CERTIFICATE: &str = "tls.crt";
/// Entry of the Secret with the private key in PEM.
pub const KEY: &str = "tls.key";
