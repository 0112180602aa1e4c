//! The life of a context: every cell of both state tables, and what time does (protocol.md 6 and 13).

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;
use serde_json::Value;
use voxwire_core::context::{
    CLIENT_TABLE, ClientContext, ClientEvent, ClientInput, ClientState, REMEMBERED_CONTEXTS, Received, SERVER_TABLE,
    ServerAction, ServerContexts, ServerEvent, ServerInput, ServerRow, ServerState, is_speakable,
};

const ID: &str = "c1";

fn vectors(role: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/contexts.jsonl");
    let text = fs::read_to_string(path).expect("the vectors are part of the repository");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("each vector is JSON"));
    lines.filter(|vector| vector["role"] == role).collect()
}

/// The parts of a step: time, event, argument, expected answer, expected state.
fn step(step: &Value) -> (f64, &str, &Value, &Value, &Value) {
    let now = step[0].as_f64().expect("a step begins with its time");
    (
        now,
        step[1].as_str().expect("an event has a name"),
        &step[2],
        &step[3],
        &step[4],
    )
}

fn server_input(argument: &Value) -> ServerInput<'_> {
    ServerInput {
        transcript: argument["transcript"].as_str(),
        continues: argument["continue"] == true,
        flush: argument["flush"] == true,
        valid: argument["valid"] == true,
    }
}

#[test]
fn server_follows_the_vectors_through_every_cell() {
    let mut cells = BTreeSet::new();
    for vector in vectors("server") {
        let mut contexts = ServerContexts::new();
        for line in vector["steps"].as_array().expect("a vector has steps") {
            let (now, event, argument, expected, state) = step(line);
            let before = contexts.state(ID, now);
            let (row, action) = match event {
                "state" => (None, None),
                "cancel" => (Some(ServerRow::Cancel), Some(contexts.cancel(ID, now))),
                "input" => {
                    let input = server_input(argument);
                    (Some(ServerRow::from(&input)), Some(contexts.input(ID, &input, now)))
                }
                name => {
                    let event = ServerEvent::from_name(name).expect("the event is known");
                    (Some(ServerRow::from(event)), Some(contexts.event(ID, event, now)))
                }
            };
            assert_eq!(
                action.map(ServerAction::name),
                expected.as_str(),
                "{}: {line}",
                vector["name"]
            );
            assert_eq!(contexts.state(ID, now).name(), state, "{}: {line}", vector["name"]);
            cells.extend(row.map(|row| (row as usize, before as usize)));
        }
    }
    assert_eq!(
        cells.len(),
        SERVER_TABLE.len() * ServerState::ALL.len(),
        "every cell is in a vector"
    );
}

#[test]
fn client_follows_the_vectors_through_every_cell() {
    let mut cells = BTreeSet::new();
    for vector in vectors("client") {
        let mut context = ClientContext::new(0.0);
        for line in vector["steps"].as_array().expect("a vector has steps") {
            let (now, name, argument, expected, state) = step(line);
            let before = context.state();
            let mut event = None;
            let answer = match name {
                "deadline" => {
                    let timeout_s = argument.as_f64().expect("a timeout is a number");
                    assert_eq!(
                        context.deadline(timeout_s),
                        expected.as_f64(),
                        "{}: {line}",
                        vector["name"]
                    );
                    None
                }
                "input" => {
                    let transcript = argument["transcript"].as_str().expect("an input has a transcript");
                    let continues = argument["continue"] == true;
                    event = Some(match (continues, transcript) {
                        (true, _) => ClientEvent::Push,
                        (false, "") => ClientEvent::Close,
                        (false, _) => ClientEvent::PushAndClose,
                    });
                    let delay = argument["buffer_delay_ms"]
                        .as_u64()
                        .and_then(|delay| delay.try_into().ok());
                    let input = ClientInput {
                        transcript,
                        continues,
                        flush: argument["flush"] == true,
                        buffer_delay_ms: delay.expect("an input has a delay"),
                    };
                    Some(context.input(&input, now).name())
                }
                "received" => {
                    let (message, row) = match argument.as_str() {
                        Some("audio") => (Received::Audio, ClientEvent::Message),
                        Some("other") => (Received::Other, ClientEvent::Message),
                        Some("flush_done") => (Received::FlushDone, ClientEvent::Message),
                        Some("done") => (Received::Done, ClientEvent::Done),
                        _ => (Received::Error, ClientEvent::Error),
                    };
                    event = Some(row);
                    Some(context.received(message, now).name())
                }
                name => {
                    let mut events = CLIENT_TABLE.iter().map(|(event, _)| *event);
                    let found = events.find(|event| event.name() == name).expect("the event is known");
                    event = Some(found);
                    Some(context.apply(found, now).name())
                }
            };
            if answer.is_some() {
                assert_eq!(answer, expected.as_str(), "{}: {line}", vector["name"]);
            }
            assert_eq!(context.state().name(), state, "{}: {line}", vector["name"]);
            assert_eq!(context.ended_at().is_some(), !context.state().is_live());
            cells.extend(event.map(|event| (event as usize, before as usize)));
        }
    }
    assert_eq!(
        cells.len(),
        CLIENT_TABLE.len() * ClientState::ALL.len(),
        "every cell is in a vector"
    );
}

#[test]
fn tables_are_in_the_order_of_their_rows_and_columns() {
    assert!(
        CLIENT_TABLE
            .iter()
            .enumerate()
            .all(|(index, (event, _))| *event as usize == index)
    );
    assert!(
        SERVER_TABLE
            .iter()
            .enumerate()
            .all(|(index, (row, _))| *row as usize == index)
    );
    assert!(
        ClientState::ALL
            .iter()
            .enumerate()
            .all(|(index, state)| *state as usize == index)
    );
    assert!(
        ServerState::ALL
            .iter()
            .enumerate()
            .all(|(index, state)| *state as usize == index)
    );
}

#[test]
fn text_is_speakable_by_one_letter_mark_or_digit() {
    for text in [
        "a", "7", "…é", "ß", "你", "  x", "<break/>", "٣", "Ⅷ", "²", "\u{301}", "\u{903}", "ʰ", "ǅ",
    ] {
        assert!(is_speakable(text), "{text:?}");
    }
    for text in [
        "",
        " ",
        "\n\t",
        "...",
        "!?",
        "—",
        "\u{1f600}",
        "€",
        "_",
        "\0",
        "\u{200d}",
        "„“",
        "+",
        "\u{a0}",
    ] {
        assert!(!is_speakable(text), "{text:?}");
    }
}

fn fail(contexts: &mut ServerContexts, id: &str, now: f64) {
    let input = ServerInput {
        transcript: None,
        continues: true,
        flush: false,
        valid: false,
    };
    assert_eq!(contexts.input(id, &input, now), ServerAction::Fail);
}

#[test]
fn at_most_4096_ids_are_remembered_and_the_oldest_goes_first() {
    let mut contexts = ServerContexts::new();
    let live = ServerInput {
        transcript: Some("Hi."),
        continues: true,
        flush: false,
        valid: true,
    };
    contexts.input("live", &live, 0.0);
    for number in 0..REMEMBERED_CONTEXTS + 2 {
        let id = number.to_string();
        contexts.input(&id, &live, 0.0);
        contexts.cancel(&id, 0.0);
    }
    assert_eq!(contexts.state("0", 0.0), ServerState::None);
    assert_eq!(contexts.state("1", 0.0), ServerState::None);
    assert_eq!(contexts.state("2", 0.0), ServerState::Cancelled);
    assert_eq!(contexts.state("live", 0.0), ServerState::Open);
}

#[test]
fn failed_id_that_still_receives_is_younger_than_one_that_does_not() {
    let mut contexts = ServerContexts::new();
    fail(&mut contexts, "busy", 0.0);
    fail(&mut contexts, "quiet", 0.0);
    let swallowed = ServerInput {
        transcript: Some("x"),
        continues: true,
        flush: false,
        valid: true,
    };
    assert_eq!(contexts.input("busy", &swallowed, 1.0), ServerAction::Ignore);
    for number in 0..REMEMBERED_CONTEXTS - 1 {
        fail(&mut contexts, &number.to_string(), 1.0);
    }
    assert_eq!(contexts.state("quiet", 1.0), ServerState::None);
    assert_eq!(contexts.state("busy", 1.0), ServerState::Failed);
}

#[test]
fn id_that_no_context_may_have_is_refused_each_time_and_never_remembered() {
    let mut contexts = ServerContexts::new();
    for id in ["", "a\0b", "x".repeat(257).as_str()] {
        for _ in 0..3 {
            fail(&mut contexts, id, 0.0);
            assert_eq!(contexts.state(id, 0.0), ServerState::None);
        }
    }
}

#[test]
fn ids_are_apart() {
    let mut contexts = ServerContexts::new();
    let input = ServerInput {
        transcript: Some("Hi."),
        continues: true,
        flush: false,
        valid: true,
    };
    assert_eq!(contexts.input("a", &input, 0.0), ServerAction::Create);
    assert_eq!(contexts.cancel("b", 0.0), ServerAction::Ignore);
    assert_eq!(contexts.input("b", &input, 0.0), ServerAction::Create);
    assert_eq!(contexts.cancel("a", 0.0), ServerAction::Stop);
    assert_eq!(contexts.state("b", 0.0), ServerState::Open);
}

#[derive(Debug, Clone)]
enum Step {
    Input {
        transcript: Option<&'static str>,
        continues: bool,
        flush: bool,
        valid: bool,
    },
    Cancel,
    Event(ServerEvent),
    Wait(f64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let transcript = prop::sample::select(vec![None, Some(""), Some(" "), Some("."), Some("Hi.")]);
    let input =
        (transcript, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(transcript, continues, flush, valid)| {
            Step::Input {
                transcript,
                continues,
                flush,
                valid,
            }
        });
    let event = prop::sample::select(vec![
        ServerEvent::SynthesisFailed,
        ServerEvent::Drained,
        ServerEvent::Expired,
    ]);
    let step = prop_oneof![
        6 => input,
        1 => Just(Step::Cancel),
        3 => event.prop_map(Step::Event),
        1 => prop::sample::select(vec![1.0, 11.0, 301.0]).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever comes: a context gets one last message, and nothing is sent for it afterwards but what a client asks for
    /// by a whitespace close (protocol.md 5).
    #[test]
    fn every_context_ends_at_most_once(steps in steps()) {
        let mut contexts = ServerContexts::new();
        let mut now = 0.0;
        let mut live = false;
        for step in steps {
            let action = match step {
                Step::Input { transcript, continues, flush, valid } => {
                    contexts.input(ID, &ServerInput { transcript, continues, flush, valid }, now)
                }
                Step::Cancel => contexts.cancel(ID, now),
                Step::Event(event) => contexts.event(ID, event, now),
                Step::Wait(seconds) => {
                    now += seconds;
                    continue;
                }
            };
            match action {
                ServerAction::Create | ServerAction::CreateAndClose => {
                    prop_assert!(!live);
                    live = true;
                }
                ServerAction::Append
                | ServerAction::AppendAndClose
                | ServerAction::AppendSilent
                | ServerAction::EndSegment
                | ServerAction::Close
                | ServerAction::Refuse => prop_assert!(live),
                ServerAction::Stop | ServerAction::StopAndFail | ServerAction::DoneAndFail => {
                    prop_assert!(live);
                    live = false;
                }
                ServerAction::Done => live = false,
                ServerAction::Fail | ServerAction::RepeatError => prop_assert!(!live),
                ServerAction::Ignore => {}
            }
            let is_live = matches!(
                contexts.state(ID, now),
                ServerState::Open | ServerState::Draining | ServerState::Refusing
            );
            prop_assert_eq!(live, is_live);
        }
    }
}
