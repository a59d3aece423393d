//! An explanation for a terminal: the way of the request from top to bottom.

use std::fmt::{self, Write};

use super::{Destination, EndpointFacts, Explanation, Fact, PassedOver, Taken};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        writeln!(f, "at {}", self.proxy)?;
        if let Some(listener) = &self.listener {
            writeln!(f, "listener       {listener}")?;
        }
        if let Some(Fact { kind, text, from }) = &self.tls {
            let from = from.as_deref().map(|from| format!(" [{from}]")).unwrap_or_default();
            writeln!(f, "{kind:<14} {text}{from}")?;
        }
        if let Some(host) = &self.virtual_host {
            writeln!(f, "virtual host   {host}")?;
        }
        for passed_over in &self.passed_over {
            of_passed_over(f, passed_over)?;
        }
        if self.passed_over_more > 0 {
            writeln!(f, "not            {} further routes", self.passed_over_more)?;
        }
        self.routes.iter().try_for_each(|taken| of_taken(f, taken))?;
        if let Some(refused) = &self.refused {
            writeln!(f, "REFUSED        {refused}")?;
        }
        Ok(())
    }
}

fn of_passed_over(f: &mut impl Write, route: &PassedOver) -> fmt::Result {
    let PassedOver { position, name, object, source, because } = route;
    writeln!(f, "not route {position:<4} {}: {because}", named(name, object.as_deref(), source.as_deref()))
}

/// `canary [VirtualService shop/reviews reviews.yaml:14]`
fn named(name: &str, object: Option<&str>, source: Option<&str>) -> String {
    let name = if name.is_empty() { "(no name)" } else { name };
    let written: Vec<&str> = object.into_iter().chain(source).collect();
    if written.is_empty() { name.to_owned() } else { format!("{name} [{}]", written.join(" ")) }
}

fn of_taken(f: &mut impl Write, taken: &Taken) -> fmt::Result {
    let Taken { position, name, object, source, matches, share, action, facts, policies: _, destinations } = taken;
    write!(f, "route {position:<8} {}", named(name, object.as_deref(), source.as_deref()))?;
    if let Some(share) = share {
        write!(f, ", {share} of requests")?;
    }
    writeln!(f, "\n  {:<KIND$} {matches}\n  {:<KIND$} {action}", "matches", "action")?;
    facts.iter().try_for_each(|fact| of_fact(f, "  ", fact))?;
    destinations.iter().try_for_each(|destination| of_destination(f, destination))
}

/// The first column.
const KIND: usize = 15;

fn of_fact(f: &mut impl Write, indent: &str, fact: &Fact) -> fmt::Result {
    let Fact { kind, text, from } = fact;
    let from = from.as_deref().map(|from| format!(" [{from}]")).unwrap_or_default();
    writeln!(f, "{indent}{:<KIND$} {text}{from}", kind.replace('_', " "))
}

fn of_destination(f: &mut impl Write, destination: &Destination) -> fmt::Result {
    let Destination { cluster, weight, total, facts, policies: _, endpoints, endpoints_more, arrival, problem } =
        destination;
    write!(f, "  -> {cluster}")?;
    if u64::from(*weight) != *total {
        write!(f, ", weight {weight} of {total}")?;
    }
    writeln!(f)?;
    facts.iter().try_for_each(|fact| of_fact(f, "     ", fact))?;
    endpoints.iter().try_for_each(|endpoint| of_endpoint(f, endpoint))?;
    if *endpoints_more > 0 {
        writeln!(f, "     {:<KIND$} {endpoints_more} more", "endpoints")?;
    }
    if let Some(problem) = problem {
        writeln!(f, "     {:<KIND$} {problem}", "PROBLEM")?;
    }
    if !arrival.is_empty() {
        writeln!(f, "     on arrival, at the workload's own sidecar:")?;
        arrival.iter().try_for_each(|fact| of_fact(f, "       ", fact))?;
    }
    Ok(())
}

fn of_endpoint(f: &mut impl Write, endpoint: &EndpointFacts) -> fmt::Result {
    let EndpointFacts { address, locality, priority, weight, workload, health, learned, usable } = endpoint;
    write!(f, "     {:<KIND$} {address}", "endpoint")?;
    if let Some(workload) = workload {
        write!(f, " {workload}")?;
    }
    write!(f, ", {health}")?;
    if let Some(learned) = learned {
        write!(f, ", {learned}")?;
    }
    if !usable {
        write!(f, ", NOT USED")?;
    }
    if !locality.is_empty() {
        write!(f, ", {locality}")?;
    }
    writeln!(f, ", priority {priority}, weight {weight}")
}
