//! YAML to a checked [`Config`](model::Config). Pure: reading the file is `watch`'s business.

pub mod model;
#[cfg(test)]
pub mod testing;
