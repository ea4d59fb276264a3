// A command line as one types it, cut into words. No shell is ever asked: only quotes and backslashes mean something.

/** The words of a line, or a text that says why it has none: `{words}` or `{problem}`. */
export function shellWords(line) {
  const words = [];
  let word = null; // null: between words
  let quote = "";
  for (let index = 0; index < line.length; index += 1) {
    const each = line[index];
    if (quote) {
      if (each === quote) quote = "";
      else if (each === "\\" && quote === '"' && /["\\$`]/.test(line[index + 1] ?? "")) word += line[(index += 1)];
      else word += each;
    } else if (each === "'" || each === '"') {
      quote = each;
      word ??= "";
    } else if (each === "\\") {
      if (index + 1 === line.length) return { problem: "The line ends with a backslash." };
      word = (word ?? "") + line[(index += 1)];
    } else if (/\s/.test(each)) {
      if (word !== null) words.push(word);
      word = null;
    } else word = (word ?? "") + each;
  }
  if (quote) return { problem: `A quote (${quote}) is not closed.` };
  if (word !== null) words.push(word);
  return { words };
}

/** `NAME=value` lines as an object: `{pairs}` or `{problem}`. Empty lines are nothing. */
export function pairs(text) {
  const found = {};
  for (const line of text.split("\n")) {
    if (!line.trim()) continue;
    const at = line.indexOf("=");
    if (at < 1) return { problem: `Write NAME=value, one a line; “${line.trim().slice(0, 40)}” is not.` };
    found[line.slice(0, at).trim()] = line.slice(at + 1);
  }
  return { pairs: found };
}
