//! The address of an OTLP collector, checked when it is given rather than when the first span is lost.

use std::fmt;
use std::str::FromStr;

/// `http://HOST:PORT` or `https://HOST:PORT`: where OTLP over gRPC is spoken. The port is 4317 by custom; gRPC makes its own
/// paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

/// A text that is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no OTLP endpoint: {why}; expected http://HOST:PORT or https://HOST:PORT")]
pub struct EndpointError {
    text: String,
    why: &'static str,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = |why| EndpointError {
            text: text.to_owned(),
            why,
        };
        let uri: http::Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("the scheme is neither http nor https"));
        }
        let authority = uri.authority().map_or("", |a| a.as_str());
        if authority.contains('@') {
            return Err(wrong("it holds a user name"));
        }
        if uri.host().unwrap_or_default().is_empty() {
            return Err(wrong("it names no host"));
        }
        if uri.port_u16().is_none() {
            return Err(wrong("it names no port"));
        }
        if uri.path_and_query().is_some_and(|p| p.as_str() != "/") {
            return Err(wrong("gRPC takes no path"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for good in [
            "http://10.250.0.1:4317",
            "https://collector.example.com:4317",
            "http://[fd00::1]:4317/",
        ] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for (bad, why) in [
            ("", "it is no URL"),
            ("10.250.0.1:4317", "the scheme"),
            ("collector", "the scheme"),
            ("grpc://collector:4317", "the scheme"),
            ("http://collector", "no port"),
            ("http://collector:port", "no port"),
            ("http://me:secret@collector:4317", "user name"),
            ("http://collector:4317/v1/traces", "no path"),
            ("http://collector:4317?a=b", "no path"),
            ("http://two words:4317", "no URL"),
        ] {
            let error = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }
}
