// Elements of the page. Text is only ever set as text, never as HTML.

export function element(tag, options = {}, ...children) {
  const { attributes = {}, ...properties } = options;
  return filled(Object.assign(document.createElement(tag), properties), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}
