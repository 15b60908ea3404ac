//! YAML to a checked [`Config`](model::Config). Pure: reading the file is `watch`'s business.

pub mod model;
