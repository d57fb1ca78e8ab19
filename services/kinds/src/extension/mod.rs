//! Kinds by which the API is extended: custom resource definitions and API services.

pub(crate) mod api_service;
pub(crate) mod definition;
