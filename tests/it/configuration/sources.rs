//! Flag over variable over file over default, for each option alike.

use super::{Files, check};

/// The line of an option in what `encke check` prints.
#[track_caller]
fn line(printed: &str, name: &str) -> String {
    let line =
        printed.lines().find(|line| line.starts_with(&format!("{name} = ")) || *line == format!("# {name} is not set"));
    line.unwrap_or_else(|| panic!("there is no {name} in {printed}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_variable_wins_over_the_file_and_the_file_over_the_default() {
    let files = Files::with("dev = true\nheartbeat = 20\ndrain = 7\nhost = [\"a.example\", \"b.example\"]\n");
    let (code, printed, errors) = files.check(&[("ENCKE_HEARTBEAT", "30"), ("ENCKE_CORS_ORIGIN", "https://a.example")]);
    assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
    assert_eq!(line(&printed, "heartbeat"), "heartbeat = 30 # from its variable");
    assert_eq!(line(&printed, "drain"), "drain = 7 # from the file");
    assert_eq!(line(&printed, "host"), "host = [\"a.example\", \"b.example\"] # from the file");
    assert_eq!(line(&printed, "cors-origin"), "cors-origin = [\"https://a.example\"] # from its variable");
    assert_eq!(line(&printed, "stall"), "stall = 120");
    assert_eq!(line(&printed, "dev"), "dev = true # from the file");
    assert_eq!(line(&printed, "pages"), "pages = false");
    assert_eq!(line(&printed, "max-connections"), "# max-connections is not set");
}

#[test]
fn a_variable_undoes_what_the_file_turns_on_and_a_list_replaces_a_list() {
    let files = Files::with("dev = true\npages = true\nhost = [\"a.example\"]\n");
    let (code, printed, errors) = files.check(&[("ENCKE_PAGES", "0"), ("ENCKE_HOST", "b.example,c.example")]);
    assert_eq!((code, errors.as_str()), (0, ""), "{printed}");
    assert_eq!(line(&printed, "pages"), "pages = false # from its variable");
    assert_eq!(line(&printed, "host"), "host = [\"b.example\", \"c.example\"] # from its variable");
}

#[test]
fn the_file_may_be_named_by_a_variable_and_there_may_be_none() {
    let files = Files::with("heartbeat = 20\ndev = true\n");
    let (code, printed, _) = check(&[], &[("ENCKE_CONFIG", &files.file())], "");
    assert_eq!((code, line(&printed, "heartbeat").as_str()), (0, "heartbeat = 20 # from the file"));
    let (code, printed, _) = check(&[], &[("ENCKE_DEV", "yes")], "");
    assert_eq!((code, line(&printed, "heartbeat").as_str()), (0, "heartbeat = 15"));
    assert_eq!(line(&printed, "dev"), "dev = true # from its variable");
    let (code, _, errors) = check(&["/nowhere/encke.toml"], &[], "");
    assert_eq!(code, 1);
    assert!(errors.contains("the configuration in /nowhere/encke.toml cannot be read: No such file"), "{errors}");
}

#[test]
fn what_is_printed_is_a_file_that_says_the_same() {
    let text = "dev = true\nretention-age = \"12h\"\nhost = [\"a\\\"\\\\b\"]\ntransports = [\"sse\", \"ndjson\"]\nretry = \"1s-2s\"\n\
                [[topics]]\nmatch = \"a/**\"\nread = \"public\"\npublish = \"key\"\nkeep = { events = 5, age = \"1h\", bytes = \"1KiB\" }\n\
                ttl = \"90s\"\nquota = \"10/s\"\n[[topics]]\nmatch = \"b\"\nquota = \"6000/m\"\nkeep = { bytes = 7 }\n";
    let (code, first, errors) = Files::with(text).check(&[]);
    assert_eq!((code, errors.as_str()), (0, ""));
    let (code, second, errors) = Files::with(&first).check(&[]);
    assert_eq!((code, errors.as_str()), (0, ""), "{first}");
    let values = |text: &str| {
        text.lines().map(|line| line.split('#').next().unwrap_or_default().trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&second));
    for words in
        ["host = [\"a\\\"\\\\b\"]", "keep = { events = 5, age = \"3600s\", bytes = 1024 }", "quota = \"6000/m\""]
    {
        assert!(first.contains(words), "{words:?} is not in {first}");
    }
}
