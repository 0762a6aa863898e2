//! Which topics are for whom. Plain data, held against a topic; the first rule that matches holds for it.

use crate::event::{Topic, TopicSelector};

/// Who may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Open {
    /// Everybody.
    Public,
    /// Whoever has a key.
    Key,
}

/// For whom the topics are that a selector matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which topics.
    pub matches: TopicSelector,
    /// Who may read them.
    pub read: Open,
    /// Who may publish to them.
    pub publish: Open,
}

/// Every rule, and what holds where none matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The rules, in their order.
    pub rules: Vec<Rule>,
    /// Who may read other topics.
    pub read: Open,
    /// Who may publish to other topics.
    pub publish: Open,
}

impl Rules {
    /// No rule for any topic: everything goes by `read` and `publish`.
    #[must_use]
    pub fn all(read: Open, publish: Open) -> Self {
        Self { rules: Vec::new(), read, publish }
    }

    /// Who may read `topic`.
    #[must_use]
    pub fn read(&self, topic: &Topic) -> Open {
        self.of(topic).map_or(self.read, |rule| rule.read)
    }

    /// Who may publish to `topic`.
    #[must_use]
    pub fn publish(&self, topic: &Topic) -> Open {
        self.of(topic).map_or(self.publish, |rule| rule.publish)
    }

    /// Whether everybody may read every topic.
    #[must_use]
    pub fn all_public(&self) -> bool {
        self.read == Open::Public && self.rules.iter().all(|rule| rule.read == Open::Public)
    }

    /// Whether there may be a topic that everybody may read.
    #[must_use]
    pub fn any_public(&self) -> bool {
        self.read == Open::Public || self.rules.iter().any(|rule| rule.read == Open::Public)
    }

    /// Whether there may be a topic that everybody may publish to.
    #[must_use]
    pub fn any_open_to_publish(&self) -> bool {
        self.publish == Open::Public || self.rules.iter().any(|rule| rule.publish == Open::Public)
    }

    /// Whether each topic is for the same readers by these rules as by the others.
    pub(super) fn read_alike(&self, other: &Self) -> bool {
        self.read == other.read && self.alike(other, |rule| rule.read)
    }

    /// Whether each topic is open to the same publishers by these rules as by the others.
    pub(super) fn publish_alike(&self, other: &Self) -> bool {
        self.publish == other.publish && self.alike(other, |rule| rule.publish)
    }

    /// Whether the rules are for the same topics as the others, and open them to the same.
    fn alike(&self, other: &Self, open: impl Fn(&Rule) -> Open) -> bool {
        let same = |(one, another): (&Rule, &Rule)| one.matches == another.matches && open(one) == open(another);
        self.rules.len() == other.rules.len() && self.rules.iter().zip(&other.rules).all(same)
    }

    fn of(&self, topic: &Topic) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(matches: &str, read: Open) -> Rule {
        Rule { matches: TopicSelector::parse(matches).expect("a selector"), read, publish: Open::Key }
    }

    #[test]
    fn the_first_rule_that_matches_holds() {
        let rules = [rule("a/secret", Open::Key), rule("a/*", Open::Public), rule("a/**", Open::Key)];
        let rules = Rules { rules: rules.into(), ..Rules::all(Open::Key, Open::Key) };
        for (topic, expected) in
            [("a/secret", Open::Key), ("a/b", Open::Public), ("a/b/c", Open::Key), ("elsewhere", Open::Key)]
        {
            assert_eq!(rules.read(&Topic::parse(topic).expect("a topic")), expected, "{topic}");
        }
        assert!(rules.any_public() && !rules.all_public());
        assert!(!Rules::all(Open::Key, Open::Public).any_public());
        assert!(Rules::all(Open::Public, Open::Key).all_public());
        assert!(Rules::all(Open::Key, Open::Public).any_open_to_publish() && !rules.any_open_to_publish());
    }
}
