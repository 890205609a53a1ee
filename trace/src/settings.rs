//! The `OTEL_*` variables of the OpenTelemetry specification: those that Millpond decides by, or refuses where the
//! libraries would go on with something else. All others the libraries read themselves.
//!
//! Invariant: without an endpoint, or with `OTEL_SDK_DISABLED=true`, tracing is off, whatever else is set.

use std::time::Duration;

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, ResourceBuilder, TelemetryResourceDetector},
    trace::{Config, IdGenerator, RandomIdGenerator, ShouldSample},
};

/// Most spans that may wait; a larger `OTEL_BSP_MAX_QUEUE_SIZE` is taken as this.
const QUEUE_LIMIT: u64 = 65_536;

/// How to reach a collector, and what to tell it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http://…/v1/traces`.
    pub(crate) endpoint: Uri,
    /// Of one batch.
    pub(crate) timeout: Duration,
    pub(crate) sampler: Box<dyn ShouldSample>,
    /// What this process is: `service.name` and others.
    pub(crate) resource: Resource,
    /// Most spans that wait.
    pub(crate) queue_max: usize,
    /// Longest that a span waits for others. Not 0: the library would never rest.
    pub(crate) delay: Duration,
}

/// A variable that says what cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {why}")]
pub struct Invalid {
    /// Which one.
    pub variable: String,
    /// What is wrong, and what to do.
    pub why: String,
}

fn invalid(variable: &str, why: impl Into<String>) -> Invalid {
    Invalid { variable: variable.to_owned(), why: why.into() }
}

/// Variables by name; one that is empty is as if it were not set.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The one for traces alone, or else the general one; with its name.
    fn of_traces(&self, rest: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{rest}"), format!("OTEL_EXPORTER_OTLP_{rest}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, Invalid> {
        let parse = |value: String| value.parse().map_err(|_| invalid(name, "is no whole number"));
        self.get(name).map_or(Ok(default), parse)
    }
}

impl Settings {
    /// Reads them; none: tracing is off. `variable`: the environment of this process, which the libraries read too.
    ///
    /// `role`: what this process does, for the default of `service.name`, which is `millpond-<role>`.
    /// # Errors
    /// What a variable says cannot be done.
    pub fn read(
        role: &str,
        version: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, Invalid> {
        let variables = Variables(variable);
        let disabled = variables.get("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let none = variables.get("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
        let Some(endpoint) = (!disabled && !none).then(|| endpoint(&variables)).transpose()?.flatten() else {
            return Ok(None);
        };
        protocol(&variables)?;
        sampler(&variables)?;
        let timeout = match variables.of_traces("TIMEOUT") {
            None => 10_000,
            Some((name, _)) => variables.number(&name, 0)?,
        };
        let queue_max = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?.clamp(1, QUEUE_LIMIT);
        let delay = variables.number("OTEL_BSP_SCHEDULE_DELAY", 5000)?.max(1);
        variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?;
        Ok(Some(Self {
            endpoint,
            timeout: Duration::from_millis(timeout),
            sampler: Config::default().sampler,
            resource: resource(role, version, variables.get("OTEL_SERVICE_NAME")),
            queue_max: usize::try_from(queue_max).expect("it is below its limit"),
            delay: Duration::from_millis(delay),
        }))
    }

    /// Where spans go.
    pub fn endpoint(&self) -> &Uri {
        &self.endpoint
    }
}

fn endpoint<F: Fn(&str) -> Option<String>>(variables: &Variables<F>) -> Result<Option<Uri>, Invalid> {
    let Some((name, text)) = variables.of_traces("ENDPOINT") else { return Ok(None) };
    let text =
        if name.contains("TRACES") { text } else { format!("{}/v1/traces", text.trim_end_matches('/')) };
    let uri: Uri = text.parse().map_err(|_| invalid(&name, "is no URL"))?;
    match uri.scheme_str() {
        Some("http") => Ok(Some(uri)),
        Some("https") => Err(invalid(
            &name,
            "spans are exported without TLS: name a collector on this machine or network by http://",
        )),
        _ => Err(invalid(&name, "is no URL that begins with http://")),
    }
}

fn protocol<F: Fn(&str) -> Option<String>>(variables: &Variables<F>) -> Result<(), Invalid> {
    match variables.of_traces("PROTOCOL") {
        Some((name, protocol)) if protocol != "http/protobuf" => Err(invalid(
            &name,
            "only http/protobuf is spoken: name the collector's HTTP endpoint, most often port 4318",
        )),
        _ => Ok(()),
    }
}

/// The library would record everything where it knows no better.
fn sampler<F: Fn(&str) -> Option<String>>(variables: &Variables<F>) -> Result<(), Invalid> {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let name = variables.get(NAME).unwrap_or_else(|| "parentbased_always_on".to_owned());
    match name.strip_prefix("parentbased_").unwrap_or(&name) {
        "always_on" | "always_off" => Ok(()),
        "traceidratio" => {
            let ratio = variables.get(ARGUMENT).map_or(Ok(1.0), |text| text.parse());
            let ratio = ratio.ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.map(drop).ok_or_else(|| invalid(ARGUMENT, "is a ratio from 0 to 1"))
        }
        _ => {
            let known = "always_on, always_off, traceidratio, or one of these after parentbased_";
            Err(invalid(NAME, known))
        }
    }
}

/// Millpond's own words, unless the environment has others.
fn resource(role: &str, version: &str, service: Option<String>) -> Resource {
    let instance = RandomIdGenerator::default().new_trace_id().to_string();
    let own = Resource::builder_empty()
        .with_service_name(format!("millpond-{role}"))
        .with_attributes([
            KeyValue::new("service.version", version.to_owned()),
            KeyValue::new("service.instance.id", instance),
            KeyValue::new("millpond.role", role.to_owned()),
        ])
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    service.into_iter().fold(own, ResourceBuilder::with_service_name).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, Invalid> {
        let find =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Settings::read("api", "1.2.3", find)
    }

    const HERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn it_is_off_without_an_endpoint_and_where_it_is_disabled() {
        assert!(read(&[]).unwrap().is_none());
        assert!(read(&[("OTEL_TRACES_SAMPLER", "always_on")]).unwrap().is_none());
        assert!(read(&[HERE, ("OTEL_SDK_DISABLED", "True")]).unwrap().is_none());
        assert!(read(&[HERE, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
        assert!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap().is_none());
        assert!(read(&[HERE]).unwrap().is_some());
    }

    #[test]
    fn the_endpoint_for_traces_is_taken_as_it_is() {
        let endpoint = |variables: &[_]| read(variables).unwrap().unwrap().endpoint.to_string();
        assert_eq!(endpoint(&[HERE]), "http://collector:4318/v1/traces");
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c/x/")]), "http://c/x/v1/traces");
        assert_eq!(endpoint(&[HERE, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/t")]), "http://c/t");
    }

    #[test]
    fn what_cannot_be_done_is_said_by_its_variable() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "all"),
        ] {
            let variables = if name == HERE.0 { vec![(name, value)] } else { vec![HERE, (name, value)] };
            assert_eq!(read(&variables).unwrap_err().variable, name);
        }
        let ratio = [HERE, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert_eq!(read(&ratio).unwrap_err().variable, "OTEL_TRACES_SAMPLER_ARG");
    }

    #[test]
    fn a_process_says_what_it_is_unless_it_is_told_otherwise() {
        let of = |variables: &[_], key: &'static str| {
            read(variables).unwrap().unwrap().resource.get(&key.into()).unwrap().to_string()
        };
        assert_eq!(of(&[HERE], "service.name"), "millpond-api");
        assert_eq!(of(&[HERE], "service.version"), "1.2.3");
        assert_eq!(of(&[HERE], "millpond.role"), "api");
        assert_eq!(of(&[HERE, ("OTEL_SERVICE_NAME", "pond")], "service.name"), "pond");
    }
}
