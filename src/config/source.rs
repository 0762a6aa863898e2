//! Where the options come from, and which one wins: flag over variable over file over default.
//!
//! They are read at the start, and anew whenever the operator asks for it: the same flags and variables, and the files as
//! they are then.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use super::file::{self, Entry, File};
use super::{Address, ConfigError, ConfigErrors, Keep, KeyKind, Network, Passed, ServeArgs, TopicRule, Who, key, tls};
use crate::event::TopicSelector;

/// The command line, to be read together with the environment and the file.
#[derive(Clone, Debug)]
pub struct Source {
    command: clap::Command,
    words: Vec<OsString>,
    /// Whether systemd passed sockets for clients, and for operators.
    passed: (bool, bool),
}

/// What is to be used.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The options.
    pub args: ServeArgs,
    /// Each option as it was written, in the order of the help.
    pub settings: Vec<Setting>,
    /// What works, but is not as it should be.
    pub warnings: Vec<String>,
    /// How much of which topics is kept, as it was when the log was opened.
    pub(super) kept: Vec<(TopicSelector, Keep)>,
}

/// One option as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in the file.
    pub name: String,
    /// Its values; none if nobody says anything.
    pub values: Vec<String>,
    /// Who says so.
    pub origin: Origin,
    /// How it is written in the file.
    pub(super) form: Form,
}

/// Who says what an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Variable,
    /// The file.
    File,
    /// Nobody.
    Default,
}

/// How an option is written in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Number,
    Flag,
    List,
}

/// What some options take by name, of things that others have: each name with what it is, which may be empty.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `--transports`.
    pub transports: Vec<(&'static str, &'static str)>,
    /// `--store`.
    pub stores: Vec<(&'static str, &'static str)>,
}

/// `serve` with its options, of which some take these names.
#[must_use]
pub fn command(names: &Names) -> clap::Command {
    named(<ServeArgs as clap::Args>::augment_args(clap::Command::new("serve")), names)
}

/// The command with the names that its options take.
#[must_use]
pub fn named(serve: clap::Command, names: &Names) -> clap::Command {
    let value = |&(name, what): &(&'static str, &'static str)| match what {
        "" => PossibleValue::new(name),
        _ => PossibleValue::new(name).help(what),
    };
    let parser = |names: &[(&'static str, &'static str)]| PossibleValuesParser::new(names.iter().map(value));
    let (transports, stores) = (parser(&names.transports), parser(&names.stores));
    // Of one argument, `mut_arg` would change its place.
    serve.mut_args(|argument| match argument.get_id().as_str() {
        "transports" => argument.value_parser(transports.clone()),
        "store" => argument.value_parser(stores.clone()),
        _ => argument,
    })
}

impl Source {
    /// The words after `serve`, which are known to be well-formed.
    #[must_use]
    pub fn new(command: clap::Command, words: Vec<OsString>) -> Self {
        Self { command: command.no_binary_name(true), words, passed: (false, false) }
    }

    /// The same with the sockets that systemd has passed.
    #[must_use]
    pub fn with_passed(mut self, sockets: &[Passed]) -> Self {
        let is_passed = |for_admin| sockets.iter().any(|passed| passed.is_for_admin() == for_admin);
        self.passed = (is_passed(false), is_passed(true));
        self
    }

    /// A file, with no flags beside it.
    #[must_use]
    pub fn of_file(command: clap::Command, path: Option<&Path>) -> Self {
        Self::new(command, path.map(|path| with_value("config", path.as_os_str())).into_iter().collect())
    }

    /// The directory of the log, whatever else is said, and whether keys can be read.
    ///
    /// # Errors
    /// The command line, the environment or the file cannot be read.
    pub fn data(&self) -> Result<PathBuf, ConfigErrors> {
        let (.., matches) = self.merged()?;
        ServeArgs::from_arg_matches(&matches).map(|args| args.data).map_err(|error| usage(&error))
    }

    /// What is said without the file, the file, and all of it.
    fn merged(&self) -> Result<(ArgMatches, File, ArgMatches), ConfigErrors> {
        let alone = self.matches(Vec::new())?;
        let path = alone.get_one::<PathBuf>("config");
        let file = path.map_or_else(|| Ok(File::default()), |path| self.file(path)).map_err(ConfigErrors)?;
        let matches = self.matches(words_of(&file, &alone))?;
        Ok((alone, file, matches))
    }

    /// Reads everything, and checks what belongs together.
    ///
    /// # Errors
    /// Says what to mend, all of it as far as it can be told at once.
    pub fn read(&self) -> Result<Configuration, ConfigErrors> {
        let (alone, file, matches) = self.merged()?;
        let mut args = ServeArgs::from_arg_matches(&matches).map_err(|error| usage(&error))?;
        args.topics = file.topics;
        let mut settings: Vec<_> =
            self.command.get_arguments().filter_map(|argument| setting(argument, &matches, &alone)).collect();
        let (mut warnings, mut errors) = (Vec::new(), Vec::new());
        if let Err(error) = find_listeners(&mut args, &mut settings, self.passed) {
            errors.push(error);
        }
        complete(&mut args, &settings, &mut warnings, &mut errors);
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let kept = kept(&args.topics);
        Ok(Configuration { args, settings, warnings, kept })
    }

    fn matches(&self, mut words: Vec<OsString>) -> Result<ArgMatches, ConfigErrors> {
        words.extend(self.words.iter().cloned());
        self.command.clone().try_get_matches_from(words).map_err(|error| usage(&error))
    }

    fn file(&self, path: &Path) -> Result<File, Vec<ConfigError>> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| vec![ConfigError::File { path: path.to_owned(), source }])?;
        let faults = |faults: Vec<String>| faults.into_iter().map(ConfigError::InFile).collect();
        file::parse(path, &text, &self.command).map_err(faults)
    }
}

fn usage(error: &clap::Error) -> ConfigErrors {
    ConfigErrors(vec![ConfigError::Usage(error.to_string().trim().trim_start_matches("error: ").to_owned())])
}

/// The options of the file as flags, but for those that flags and variables set.
fn words_of(file: &File, alone: &ArgMatches) -> Vec<OsString> {
    let mut words = Vec::new();
    for Entry { name, values, is_flag } in &file.options {
        let overruled = matches!(origin(&id(name), alone), Some(Origin::Flag | Origin::Variable));
        match (overruled, is_flag) {
            (true, _) => {}
            (false, true) => {
                words.extend(values.iter().filter(|set| *set == "true").map(|_| format!("--{name}").into()))
            }
            (false, false) => words.extend(values.iter().map(|value| with_value(name, OsStr::new(value)))),
        }
    }
    words
}

fn with_value(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(format!("--{name}="));
    word.push(value);
    word
}

/// By which name clap knows a flag.
fn id(name: &str) -> String {
    name.replace('-', "_")
}

fn origin(id: &str, matches: &ArgMatches) -> Option<Origin> {
    match matches.value_source(id)? {
        ValueSource::CommandLine => Some(Origin::Flag),
        ValueSource::EnvVariable => Some(Origin::Variable),
        _ => Some(Origin::Default),
    }
}

fn setting(argument: &clap::Arg, matches: &ArgMatches, alone: &ArgMatches) -> Option<Setting> {
    let name = file::name(argument)?;
    let id = argument.get_id().as_str();
    let values = matches.get_raw(id).into_iter().flatten();
    let values: Vec<String> = values.map(|value| value.to_string_lossy().into_owned()).collect();
    let origin = match (origin(id, alone), origin(id, matches)) {
        (Some(said @ (Origin::Flag | Origin::Variable)), _) => said,
        (_, Some(Origin::Flag)) => Origin::File,
        _ => Origin::Default,
    };
    let number = |value: &String| value.bytes().all(|byte| byte.is_ascii_digit());
    let form = match argument.get_action() {
        clap::ArgAction::SetTrue => Form::Flag,
        clap::ArgAction::Append => Form::List,
        _ if !values.is_empty() && values.iter().all(number) => Form::Number,
        _ => Form::Text,
    };
    Some(Setting { name, values, origin, form })
}

/// Where to listen if nobody says it: on what systemd has passed, else on loopback.
fn find_listeners(
    args: &mut ServeArgs,
    settings: &mut [Setting],
    (passed, passed_for_admin): (bool, bool),
) -> Result<(), ConfigError> {
    if args.listen.is_empty() {
        let port = variable("PORT").filter(|_| !passed);
        let origin = if port.is_some() { Origin::Variable } else { Origin::Default };
        args.listen.push(match port {
            _ if passed => Address::Systemd { name: None },
            Some(port) => {
                let wrong = |_| ConfigError::Variable { name: "PORT", reason: format!("{port:?} is not a port") };
                Address::Tcp(SocketAddr::new(LISTEN.ip(), port.parse().map_err(wrong)?))
            }
            None => Address::Tcp(LISTEN),
        });
        note(settings, "listen", &args.listen, origin);
    }
    if args.dev {
        args.admin.clear();
    } else if args.admin.is_empty() {
        args.admin.push(if passed_for_admin { Address::Systemd { name: None } } else { Address::Tcp(ADMIN) });
        note(settings, "admin", &args.admin, Origin::Default);
    }
    Ok(())
}

fn note(settings: &mut [Setting], name: &str, addresses: &[Address], origin: Origin) {
    if let Some(setting) = settings.iter_mut().find(|setting| setting.name == name) {
        setting.values = addresses.iter().map(ToString::to_string).collect();
        setting.origin = origin;
    }
}

/// Where the gateway listens if nobody says otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// What the rules say of retention. Rules that say nothing of it count too, as they hide those below, but not behind the last
/// that says something.
fn kept(rules: &[TopicRule]) -> Vec<(TopicSelector, Keep)> {
    let upto = rules.iter().rposition(|rule| rule.keep != Keep::default()).map_or(0, |last| last + 1);
    rules[..upto].iter().map(|rule| (rule.selector.clone(), rule.keep)).collect()
}

/// Takes the keys, and checks what belongs together.
fn complete(args: &mut ServeArgs, settings: &[Setting], warnings: &mut Vec<String>, errors: &mut Vec<ConfigError>) {
    let file_wins = |kind: KeyKind| {
        let said = |setting: &Setting| matches!(setting.origin, Origin::Flag | Origin::Variable);
        settings.iter().any(|setting| setting.name == kind.option() && said(setting))
    };
    let mut keys = |kind, file: Option<&Path>| key::read(kind, file, file_wins(kind), warnings);
    match keys(KeyKind::Publish, args.publish_key_file.as_deref()) {
        Ok(keys) if keys.is_empty() && !args.dev => errors.push(ConfigError::NoKey),
        Ok(keys) => args.publish_keys = keys,
        Err(error) => errors.push(error),
    }
    match keys(KeyKind::Admin, args.admin_key_file.as_deref()) {
        Ok(keys) if key::overlap(&keys, &args.publish_keys) => errors.push(ConfigError::SameKey),
        Ok(keys) => args.admin_keys = keys,
        Err(error) => errors.push(error),
    }
    match tls::read(args.tls_cert.as_deref(), args.tls_key.as_deref(), warnings) {
        Ok(identity) => args.identity = identity,
        Err(error) => errors.push(error.into()),
    }
    if args.identity.is_some() && args.listen.iter().all(|address| matches!(address, Address::Unix { .. })) {
        warnings.push("tls-cert is of no use: Unix sockets are not encrypted, and nothing else is listened on".into());
    }
    if args.any_origin() && !args.anything_public() {
        errors.push(ConfigError::NothingPublic);
    }
    if args.trusted_proxy.len() > 1 && args.trusted_proxy.contains(&Network::None) {
        errors.push(ConfigError::NoneAndOthers);
    }
    let hidden = |rule: &&super::TopicRule| rule.read.is_some_and(|read| read == Who::Key);
    if args.dev && args.topics.iter().any(|rule| hidden(&rule)) {
        warnings.push("under --dev everybody may read and publish, whatever the rules for topics say".into());
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The names of variables that look like ours and are not: misspelt ones, but also those that an orchestrator makes of the
/// name of a service. Their values may be secrets that were meant for us.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let command = command(&Names::default());
    let options: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_env).collect();
    let known = |name: &OsStr| options.contains(&name) || NO_OPTIONS.iter().any(|known| name == *known);
    let ours = std::env::vars_os().map(|(name, _)| name).filter(|name| !known(name));
    let ours = ours.map(|name| name.to_string_lossy().into_owned());
    let mut unknown: Vec<_> = ours.filter(|name| name.starts_with("ENCKE_")).collect();
    unknown.sort_unstable();
    unknown
}

/// Variables without an option of `encke serve`: the keys themselves, and what only the client commands read.
const NO_OPTIONS: [&str; 4] = [KeyKind::Publish.variable(), KeyKind::Admin.variable(), "ENCKE_URL", "ENCKE_CA"];
