//! `docs/configuration.md`, from the definitions of the options: the text of `reference.txt` with the tables in their place.

use super::reload::is_reloaded;

/// The whole document. `command` has an argument for each option.
#[must_use]
pub fn reference(command: &clap::Command) -> String {
    include_str!("reference.txt").replace("{options}\n", &tables(command))
}

/// A table for each group of the help, in the order in which they are first met.
fn tables(command: &clap::Command) -> String {
    let mut groups: Vec<(&str, String)> = Vec::new();
    for argument in command.get_arguments().filter(|argument| argument.get_env().is_some()) {
        let heading = argument.get_help_heading().unwrap_or("In general");
        let row = row(argument);
        match groups.iter_mut().find(|(group, _)| *group == heading) {
            Some((_, rows)) => rows.push_str(&row),
            None => groups.push((heading, row)),
        }
    }
    let table = |(heading, rows): &(&str, String)| {
        format!("### {heading}\n\n| option | variable | default | reload | means |\n|---|---|---|---|---|\n{rows}")
    };
    groups.iter().map(table).collect::<Vec<_>>().join("\n")
}

fn row(argument: &clap::Arg) -> String {
    let name = argument.get_long().unwrap_or_default();
    let takes = argument.get_action().takes_values();
    let value = argument.get_value_names().and_then(<[_]>::first).filter(|_| takes);
    let value = value.map(|value| format!(" {value}")).unwrap_or_default();
    let variable = argument.get_env().unwrap_or_default().to_string_lossy();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let (help, told) = split_default(help.trim_end_matches('.'));
    let default = argument.get_default_values().iter().filter(|_| takes).map(|value| value.to_string_lossy());
    let default = default.map(|value| value.into_owned()).next().or(told);
    let default = default.map(|default| format!(" `{default}`")).unwrap_or_default();
    let reload = if is_reloaded(name) { " yes" } else { "" };
    let values = argument.get_possible_values();
    let values: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    let told = !takes || values.iter().all(|value| help.contains(value));
    let values = if told { String::new() } else { format!(": {}", values.join(", ")) };
    let means = format!("{help}{values}").replace('|', "\\|").replace(" --dev", " `--dev`");
    format!("| `--{name}{value}` | `{variable}` |{default} |{reload} | {means} |\n")
}

/// A help that tells the default itself, as that is no plain value.
fn split_default(help: &str) -> (&str, Option<String>) {
    let told = help.rsplit_once(" [default: ").and_then(|(help, told)| Some((help, told.strip_suffix(']')?)));
    told.map_or((help, None), |(help, told)| (help, Some(told.to_owned())))
}
