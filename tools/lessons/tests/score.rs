//! Answers that must pass and answers that must fail.

use std::collections::HashSet;

use sterna_lessons::score::{Question, judge, judge_story, numbers, pairs, questions};
use sterna_lessons::words::words;

fn question(json: &str) -> Question {
    serde_json::from_str(&format!("{{\"ask\":\"\",{json}}}")).unwrap()
}

/// Marks answers to one question: those of the first list must pass, those of the second fail for the reason beside them.
fn check(json: &str, right: &[&str], wrong: &[(&str, &str)]) {
    let question = question(json);
    for answer in right {
        assert_eq!(judge(&question, answer), Ok(()), "{answer}");
    }
    for (answer, reason) in wrong {
        fails(judge(&question, answer), reason);
    }
}

fn fails(result: Result<(), String>, reason: &str) {
    let fault = result.expect_err(reason);
    assert!(fault.contains(reason), "{fault}, not {reason}");
}

#[test]
fn the_exam_has_its_counts_and_every_question_asks_for_something() {
    let questions = questions();
    let of = |topic| questions.iter().filter(|q| q.topic == topic).count();
    let topics = ["greeting", "identity", "ternary", "arithmetic", "opposite", "colour", "joke", "riddle", "story"];
    assert_eq!(topics.map(of), [12, 18, 10, 16, 12, 10, 4, 6, 12]);
    assert_eq!(pairs().len(), 50);
    assert!(questions.iter().filter(|q| words(&q.ask).len() < 4).count() <= 25);
    assert_eq!(questions.iter().map(|q| words(&q.ask)).collect::<HashSet<_>>().len(), 100);
    for q in &questions {
        assert!(!q.right.is_empty() || q.number.is_some() || q.form.is_some() || q.nouns.is_some(), "{}", q.ask);
        assert!(judge(q, "I do not know that.").is_err() || q.topic == "identity", "{}", q.ask);
    }
}

#[test]
fn one_of_every_group_as_whole_words() {
    let json = r#""topic":"identity","right":[["no","not"],["cpu","your computer"]],"wrong":["yes"]"#;
    check(
        json,
        &["No, I run on the CPU.", "It is NOT needed: your computer is enough!"],
        &[
            ("I know nothing of a CPU.", r#"none of ["no", "not"]"#),
            ("No.", r#"none of ["cpu", "your computer"]"#),
            ("Yes, no CPU.", r#"has "yes""#),
            ("No, I run on the CPU", "does not end"),
            ("", "empty"),
            (" ", "empty"),
            ("No, your own computer.", r#"none of ["cpu", "your computer"]"#),
        ],
    );
}

#[test]
fn signs_stand_as_they_are() {
    let json = r#""topic":"ternary","right":[["-1"],["0","zero"],["+1","1.58"]]"#;
    check(
        json,
        &["It is -1, 0 or +1.", "−1, zero, and 1.58 bits."],
        &[
            ("It is 1, 0 or +1.", r#"none of ["-1"]"#),
            ("3-1, 0, +1.", r#"none of ["-1"]"#),
            ("-1, 0, 158.", r#"none of ["+1", "1.58"]"#),
        ],
    );
}

#[test]
fn the_last_number_counts() {
    let json = r#""topic":"arithmetic","number":7"#;
    check(
        json,
        &["3 plus 4 is 7.", "Three plus four is seven.", "7!"],
        &[
            ("3 plus 4 is 8.", "last number is Some(8)"),
            ("7 is 3 plus 4.", "last number is Some(4)"),
            ("It is 17.", "last number is Some(17)"),
            ("Seventy.", "last number is Some(70)"),
            ("Lots.", "last number is None"),
            ("It is seven or eight.", "last number is Some(8)"),
        ],
    );
    assert_eq!(numbers(&words("Twenty-five, forty, 3 and thirty two ten")), [25, 40, 3, 32, 10]);
}

#[test]
fn too_long_or_repeated() {
    let fact = r#""topic":"colour","right":[["blue"]]"#;
    check(
        fact,
        &["The sky is blue."],
        &[(&format!("The sky is {}blue.", "very ".repeat(30)), "34 words, more than 24")],
    );
    let talk = r#""topic":"greeting","right":[["hello"]]"#;
    let again = "Hello, how are you, how are you now, how are you now, how are you now?";
    check(talk, &["Hello, how are you?"], &[(again, r#"repeats "how are you now""#)]);
}

#[test]
fn jokes_and_riddles_have_their_form() {
    let joke = "Why did the bee hum? Because it forgot the words!";
    let pointless = ["Why did the old bee hum all day?", "A joke.", "Why? Ha."].map(|answer| (answer, "its point"));
    check(r#""topic":"joke","form":"joke""#, &[joke], &pointless);
    let riddle = "What has a neck but no head?";
    check(
        r#""topic":"riddle","form":"riddle""#,
        &[riddle, "Here is one. What has a neck but no head? Say it."],
        &[("What is it?", "asks no riddle"), ("Here is a riddle about a bottle.", "asks no riddle")],
    );
}

const STORY: &str = "Once there was a fox who had a lantern. Every night the fox lit the lantern and looked at the hill. \
    One night the wind blew out the light. \"Oh no!\" said the fox. But the lantern was warm, and the fox's friends \
    came with a match. They lit it again and walked home.";

#[test]
fn a_story_names_both_nouns_in_three_sentences_and_ends() {
    let json = r#""topic":"story","nouns":["fox","lantern"]"#;
    let other = r#""topic":"story","nouns":["fox","key"]"#;
    let cut = STORY.trim_end_matches('.');
    let one_less = STORY.replace("the fox's friends", "friends");
    let shouted = format!("{cut}!");
    check(
        json,
        &[STORY],
        &[
            (cut, "does not end in . ! or ?"),
            (&one_less, "2 sentences name both"),
            ("The fox. The fox lit the lantern.", "7 words, fewer than 40"),
            (&shouted, "does not end in a full stop"),
        ],
    );
    check(other, &[], &[(STORY, "0 sentences name both")]);
}

#[test]
fn a_sampled_story_uses_words_of_the_corpus_and_does_not_repeat() {
    let mut known: HashSet<String> = words(STORY).into_iter().collect();
    assert_eq!(judge_story(["fox", "lantern"], STORY, &known), Ok(()));
    let again = format!("{STORY} The fox lit the lantern. So the fox lit the lantern.");
    fails(judge_story(["fox", "lantern"], &again, &known), "repeats");
    known.remove("night");
    fails(judge_story(["fox", "lantern"], STORY, &known), "not words of the corpus");
    known.insert("night".into());
    known.remove("match");
    assert_eq!(judge_story(["fox", "lantern"], STORY, &known), Ok(()), "one word of fifty-two may be strange");
}
