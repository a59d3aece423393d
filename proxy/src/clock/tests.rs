//! Alarms under a stopped clock.

use super::*;
use tokio::task::LocalSet;

const SECOND: Duration = Duration::from_secs(1);

async fn with_wheel<F: Future>(work: impl FnOnce(Rc<Wheel>) -> F) -> F::Output {
    let wheel = Wheel::new();
    let local = LocalSet::new();
    let driver = Rc::clone(&wheel);
    let driving = local.spawn_local(async move { driver.drive().await });
    let output = local.run_until(work(wheel)).await;
    driving.abort();
    output
}

#[tokio::test(start_paused = true)]
async fn an_alarm_rings_after_its_deadline_and_at_most_a_sixteenth_late() {
    for after in [1, 7, 100, 999, 5_000, 29_000, 200_000].map(Duration::from_millis) {
        let (ring, waited) = with_wheel(|wheel| async move {
            let alarm = wheel.alarm();
            let started = now();
            alarm.set(Slot::Download, Some(after));
            (alarm.ring().await, now() - started)
        })
        .await;

        assert_eq!(ring, Ring::Due(Slot::Download));
        assert!(waited >= after, "{waited:?} before {after:?}");
        assert!(waited <= after + after / 16 + Duration::from_millis(3), "{waited:?} long after {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn moving_a_deadline_back_keeps_the_alarm_silent_until_then() {
    let waited = with_wheel(|wheel| async move {
        let alarm = wheel.alarm();
        let started = now();
        alarm.set(Slot::Total, Some(SECOND));
        tokio::time::advance(SECOND / 2).await;
        alarm.set(Slot::Total, Some(3 * SECOND));
        let _ring = alarm.ring().await;
        now() - started
    })
    .await;

    assert!(waited >= SECOND * 7 / 2);
}

#[tokio::test(start_paused = true)]
async fn moving_a_deadline_forward_rings_at_the_new_moment() {
    let waited = with_wheel(|wheel| async move {
        let alarm = wheel.alarm();
        let started = now();
        alarm.set(Slot::Total, Some(60 * SECOND));
        alarm.set(Slot::Upload, Some(SECOND));
        assert_eq!(alarm.ring().await, Ring::Due(Slot::Upload));
        now() - started
    })
    .await;

    assert!(waited < 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_recycled_alarm_has_forgotten_its_deadlines() {
    let waited = with_wheel(|wheel| async move {
        let first = wheel.alarm();
        first.set(Slot::Total, Some(SECOND));
        drop(first);
        let second = wheel.alarm();
        let started = now();
        second.set(Slot::Total, Some(10 * SECOND));
        let _ring = second.ring().await;
        now() - started
    })
    .await;

    assert!(waited >= 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn time_stands_still_while_a_task_runs_and_no_longer() {
    let wheel = Wheel::new();
    let before = wheel.stamp();
    tokio::time::advance(SECOND).await;

    let (first, second) = wheel.at_one_moment(|| {
        let first = wheel.stamp();
        (first, wheel.stamp())
    });
    tokio::time::advance(SECOND).await;

    assert_eq!((first.since(before), second), (SECOND, first));
    assert_eq!(wheel.stamp().since(before), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_poke_rings_every_alarm_that_waits() {
    let ring = with_wheel(|wheel| async move {
        let alarm = wheel.alarm();
        alarm.set(Slot::Total, Some(60 * SECOND));
        let mut ring = std::pin::pin!(alarm.ring());
        assert!(std::future::poll_fn(|cx| Poll::Ready(ring.as_mut().poll(cx).is_pending())).await);
        wheel.poke();
        ring.await
    })
    .await;

    assert_eq!(ring, Ring::Poked);
}
