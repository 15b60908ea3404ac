//! CORS of a route.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::units::Time, forms::AllOr};

/// Which pages of other origins may read a route's streams. What the app says about that is
/// replaced, it gets no `Origin`, and clients of all origins share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// `all`, or a list such as `[https://app.example.com, "https://*.example.com"]`. Others get 403.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origins: Option<AllOr>,
    /// Whether they may send cookies; not with `origins: all`. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<bool>,
    /// How long browsers may remember the answer to a preflight, 0 to 1d. Default 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Time>,
    /// Further request headers that pages may set, beside `cache-control`, `last-event-id` and the
    /// identity's. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<String>>,
}
