// Bold type as Markdown spells it, in neighbouring texts of one line: **marks** around it are there, and out of sight.

const BOLD = /\*\*(?![\s*])[^*\n]*?[^\s*]\*\*/g;

// Return the pieces of every text, as [piece, kind]: kind is "bold", "bold-mark" or "". A null is a gap.
function boldPieces(texts) {
  const whole = texts.map((text) => text ?? "\n").join("");
  const kinds = new Array(whole.length).fill("");
  for (const { 0: found, index } of whole.matchAll(BOLD)) {
    kinds.fill("bold", index, index + found.length);
    for (const mark of [index, index + found.length - 2]) kinds.fill("bold-mark", mark, mark + 2);
  }
  let start = 0;
  return texts.map((text) => {
    const pieces = [];
    for (const [at, letter] of (text ?? "").split("").entries()) {
      const kind = kinds[start + at];
      if (pieces.length && pieces.at(-1)[1] === kind) pieces.at(-1)[0] += letter;
      else pieces.push([letter, kind]);
    }
    start += (text ?? "\n").length;
    return pieces;
  });
}

// Put pieces into an element, as text.
function putPieces(element, pieces) {
  element.replaceChildren(
    ...pieces.map(([piece, kind]) => {
      if (!kind) return document.createTextNode(piece);
      const inner = document.createElement("span");
      inner.className = kind;
      inner.textContent = piece;
      return inner;
    })
  );
}
