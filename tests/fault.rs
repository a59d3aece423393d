//! Promise: a fault hits whom it names, as often as it says, for as long as it may; and retries see it if it is meant for
//! them.

use std::time::{Duration, SystemTime};

use http::Request;
use tokio::task::JoinSet;

use crate::harness::client::Answer;
use crate::harness::load::assert_share;
use crate::harness::{Client, Mesh, wait};

/// What a busy machine may add to a delay.
const LATE_MAX: Duration = Duration::from_millis(300);
const REQUESTS: u64 = 1_000;
/// 1 - 0.5^4 of these succeed, 93.75 %: so many that 93 % are two standard deviations away, and four for two draws.
const RETRIED: u64 = 4_000;
/// At the same time, because each pauses before it tries again.
const CALLERS: u64 = 8;

fn fault(spec: &str) -> String {
    format!(
        "apiVersion: tidegate.io/v1alpha1
kind: Fault
metadata: {{name: trouble, namespace: shop}}
spec:
  targetRefs:
  - {{group: \"\", kind: Service, name: reviews}}
{spec}"
    )
}

/// Seconds since 1970 as RFC 3339 in UTC.
#[allow(clippy::disallowed_methods, reason = "an expiry is a moment of the wall clock")]
fn after(delay: Duration) -> String {
    let seconds =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs() + delay.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days, proleptic Gregorian.
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) =
        if month < 10 { (year_of_era + era * 400, month + 3) } else { (year_of_era + era * 400 + 1, month - 9) };
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

async fn ask(client: &mut Client, user: Option<&str>) -> (Answer, Duration) {
    let start = wait::now();
    let mut request = Request::get("/reviews/0").header("host", "reviews:9080");
    if let Some(user) = user {
        request = request.header("end-user", user);
    }
    let answer = client.send(request).await.expect("the mesh answers");
    (answer, start.elapsed())
}

#[tokio::test]
async fn a_delay_of_seven_seconds_is_for_one_user_only() {
    let spec = "  permanent: true
  match: {headers: [{name: end-user, value: jason}]}
  delay: {value: 7s, percent: 100}
";
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("fault.yaml", &fault(spec)).start().await;
    let mut client = mesh.client("web-v1");

    for user in [None, Some("mary"), Some("jasonx")] {
        let (answer, took) = ask(&mut client, user).await;
        assert_eq!(answer.status, 200);
        assert!(took < LATE_MAX, "{user:?} waited {took:?}");
    }
    let (answer, took) = ask(&mut client, Some("jason")).await;
    println!("a delay of 7 s took {took:.3?}");
    assert_eq!(answer.status, 200);
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(7) + LATE_MAX, "{took:?}");
}

#[tokio::test]
async fn an_abort_takes_its_share_and_the_application_never_sees_it() {
    let spec = "  permanent: true\n  abort: {httpStatus: 418, percent: 10}\n";
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("fault.yaml", &fault(spec)).start().await;
    let mut client = mesh.client("web-v1");

    let mut aborted = 0;
    for _ in 0..REQUESTS {
        let (answer, _) = ask(&mut client, None).await;
        aborted += u64::from(answer.status == 418);
        assert!(answer.status == 200 || answer.status == 418, "{}", answer.status);
    }

    println!("{aborted} of {REQUESTS} aborted, 10 % wanted");
    assert_share("aborts", aborted, REQUESTS, 0.10);
    assert_eq!(mesh.backends["reviews-v1"].requests(), REQUESTS - aborted);
}

#[tokio::test]
async fn a_fault_below_retries_is_retried() {
    let spec = "  permanent: true\n  appliesTo: Upstream\n  abort: {httpStatus: 503, percent: 50}\n";
    let retry = "---
apiVersion: tidegate.io/v1alpha1
kind: BackendPolicy
metadata: {name: again, namespace: shop}
spec:
  targetRefs:
  - {group: \"\", kind: Service, name: reviews}
  retry: {attempts: 3, on: [5xx], budget: {percent: 100, minConcurrency: 10}}
";
    let text = fault(spec) + retry;
    let mesh = Mesh::plan().service("reviews", &["v1"]).policy("fault.yaml", &text).start().await;
    let draw = async || {
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let mut client = mesh.client("web-v1");
            callers.spawn(async move {
                let mut good = 0;
                for _ in 0..RETRIED / CALLERS {
                    good += u64::from(ask(&mut client, None).await.0.status == 200);
                }
                good
            });
        }
        let good: u64 = callers.join_all().await.into_iter().sum();
        println!("{good} of {RETRIED} succeeded under 50 % aborts with 3 retries");
        good
    };

    let first = draw().await;
    let second = if first * 100 < RETRIED * 93 { draw().await } else { 0 };

    assert!(first.max(second) * 100 >= RETRIED * 93, "{first}, then {second} of {RETRIED}");
    let reached = mesh.backends["reviews-v1"].requests();
    assert_eq!(reached, first + second, "an aborted attempt does not reach the application");
}

#[tokio::test]
async fn an_expired_fault_stops_by_itself_even_without_a_control_plane() {
    let spec = format!("  expiresAt: {}\n  abort: {{httpStatus: 503, percent: 100}}\n", after(Duration::from_secs(4)));
    let mut mesh = Mesh::plan().service("reviews", &["v1"]).policy("fault.yaml", &fault(&spec)).start().await;
    let mut client = mesh.client("web-v1");
    assert_eq!(ask(&mut client, None).await.0.status, 503, "the fault acts until it expires");

    mesh.control.kill();

    wait::until("the fault expires", Duration::from_secs(6), || async {
        ask(&mut mesh.client("web-v1"), None).await.0.status == 200
    })
    .await;
}
