// Numbers as people read them.

export function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

export function milliseconds(ms) {
  return `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;
}

export function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`;
}
