// Proof that every event came once, from what the events say of themselves: their cursor, and the number `n` in their
// data, which rises by one for each event of its topic.

const REMEMBERED = 1000;

export class Sequence {
  missed = 0;
  doubled = 0;
  /** Whether any data had a number; without one nothing can be said about what is missing. */
  numbered = false;
  #cursors = new Recent();
  #topics = new Map();

  /** Takes the next event as it came. */
  take({ id, topic, data }) {
    if (id && !this.#cursors.add(id)) {
      this.doubled += 1;
      return;
    }
    const n = data?.n;
    if (!Number.isSafeInteger(n)) {
      return;
    }
    this.numbered = true;
    const before = this.#topics.get(topic);
    if (before === undefined) {
      this.#remember(topic, n);
    } else if (n > before.last) {
      this.missed += n - before.last - 1;
      before.last = n;
      before.numbers.add(n);
    } else if (!before.numbers.add(n)) {
      this.doubled += 1;
    }
  }

  /** A gap was told: what is missing there is not missing in silence. */
  gap() {
    this.#topics.clear();
  }

  #remember(topic, n) {
    const numbers = new Recent();
    numbers.add(n);
    if (this.#topics.size === REMEMBERED) {
      this.#topics.delete(this.#topics.keys().next().value);
    }
    this.#topics.set(topic, { last: n, numbers });
  }
}

/** The last values, up to a bound. */
class Recent {
  #values = new Set();

  /** Answers whether `value` is new. */
  add(value) {
    if (this.#values.has(value)) {
      return false;
    }
    if (this.#values.size === REMEMBERED) {
      this.#values.delete(this.#values.values().next().value);
    }
    this.#values.add(value);
    return true;
  }
}
