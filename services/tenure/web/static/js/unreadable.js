/** What a person wrote that cannot be read, and in which control. */
export class Unreadable extends Error {
  constructor(message, control = null) {
    super(message);
    this.control = control;
  }
}
