//! stub until the table lands
use crate::config::model::Route;
use http::Method;
use std::sync::Arc;
/// Which route a request takes.
#[derive(Debug, Clone, Default)]
pub struct Table {
    routes: Vec<Arc<Route>>,
}
impl Table {
    /// New
    #[must_use]
    pub fn new(routes: &[Arc<Route>]) -> Self {
        Self {
            routes: routes.to_vec(),
        }
    }
    /// Find
    #[must_use]
    pub fn find(&self, _host: &str, path: &str, _method: &Method) -> Option<&Arc<Route>> {
        self.routes.iter().find(|r| {
            let mut m = matchit::Router::new();
            m.insert(r.matches.path.clone(), ()).is_ok() && m.at(path).is_ok()
        })
    }
}
