//! Which answers are kept, for how long, and when they are made anew.

use super::*;

const PACE: Pace = Pace { cheap: CHEAP, refresh: REFRESH, kept: KEPT };

fn kept(at: Instant, took_ms: u64) -> Kept {
    let (plain, took) = (Bytes::from_static(b"{}"), Duration::from_millis(took_ms));
    Kept { plain, gzip: None, at, took, asked: at, asked_gzip: None }
}

fn asked(n: usize) -> Query {
    Query { namespaces: vec![n.to_string()], ..Query::default() }
}

#[test]
fn an_answer_that_took_long_is_kept_and_one_that_has_become_cheap_is_not() {
    let (mut board, now) = (Board::default(), Instant::now());

    board.keep(asked(1), kept(now, 9), PACE);
    assert_eq!(board.ask(&asked(1), Form::Plain, now, PACE), None);
    board.keep(asked(1), kept(now, 10), PACE);
    assert!(board.ask(&asked(1), Form::Plain, now, PACE).is_some());
    board.keep(asked(1), kept(now, 9), PACE);
    assert_eq!(board.ask(&asked(1), Form::Plain, now, PACE), None);
}

#[test]
fn an_answer_is_due_after_a_second_and_later_if_all_of_them_would_take_more_than_a_fifth_of_a_core() {
    let (mut board, now) = (Board::default(), Instant::now());
    let after = |ms| now + Duration::from_millis(ms);

    board.keep(asked(1), kept(now, 100), PACE);
    assert_eq!(board.next(after(999), PACE), Next::Wait(Duration::from_millis(1)));
    assert_eq!(board.next(after(1_000), PACE), Next::Make(asked(1), Form::Plain));
    board.keep(asked(2), kept(after(1), 300), PACE);
    assert_eq!(board.next(after(1_999), PACE), Next::Wait(Duration::from_millis(1)));
    assert_eq!(board.next(after(2_000), PACE), Next::Make(asked(1), Form::Plain));
}

#[test]
fn what_nobody_asks_for_is_let_go_of_and_then_there_is_nothing_to_do() {
    let (mut board, now) = (Board { has_keeper: true, ..Board::default() }, Instant::now());
    board.keep(asked(1), kept(now, 100), PACE);
    board.keep(asked(2), kept(now, 100), PACE);
    let later = now + KEPT / 2;
    assert!(board.ask(&asked(2), Form::Plain, later, PACE).is_some());
    // That it was made anew is not that somebody asked.
    board.keep(asked(2), kept(now, 100), PACE);

    assert!(matches!(board.next(now + KEPT, PACE), Next::Make(query, _) if query == asked(2)));
    assert_eq!(board.kept.len(), 1);
    assert_eq!(board.next(later + KEPT, PACE), Next::Nothing);
    assert!(board.kept.is_empty() && !board.has_keeper);
}

#[test]
fn nobody_is_given_what_was_not_asked_for_in_a_long_time() {
    let (mut board, now) = (Board::default(), Instant::now());
    board.keep(asked(1), kept(now, 100), PACE);

    assert_eq!(board.ask(&asked(1), Form::Plain, now + KEPT, PACE), None);
    assert!(board.kept.is_empty());
}

#[test]
fn gzip_is_made_for_as_long_as_somebody_reads_it_and_nobody_waits_for_it() {
    let (mut board, now) = (Board::default(), Instant::now());
    board.keep(asked(1), kept(now, 100), PACE);

    let first = board.ask(&asked(1), Form::Gzip, now, PACE).unwrap();
    assert_eq!((first.form, &*first.bytes), (Form::Plain, &b"{}"[..]));
    let due = now + REFRESH;
    assert_eq!(board.next(due, PACE), Next::Make(asked(1), Form::Gzip));
    board.keep(asked(1), Kept { gzip: Some(pack(b"{}").unwrap()), ..kept(due, 100) }, PACE);
    assert_eq!(board.ask(&asked(1), Form::Gzip, due, PACE).map(|json| json.form), Some(Form::Gzip));
    assert_eq!(board.ask(&asked(1), Form::Plain, now + KEPT, PACE).map(|json| json.form), Some(Form::Plain));
    assert_eq!(board.next(due + KEPT, PACE), Next::Make(asked(1), Form::Plain));
}

#[test]
fn kept_answers_are_bounded_in_number_and_in_bytes() {
    let (mut board, now) = (Board::default(), Instant::now());
    (0..2 * QUESTIONS_MAX).for_each(|n| board.keep(asked(n), kept(now, 50), PACE));
    assert_eq!(board.kept.len(), QUESTIONS_MAX);

    let mut board = Board::default();
    let half = Bytes::from(vec![b' '; KEPT_BYTES_MAX / 2]);
    (0..3).for_each(|n| board.keep(asked(n), Kept { plain: half.clone(), ..kept(now, 50) }, PACE));
    assert_eq!(board.kept.len(), 2);
}
