"use strict";
// Shows openapi.json. Text from it and from answers is only ever set as text, never as HTML.

function element(tag, options = {}, ...children) {
  const { attributes = {}, ...properties } = options;
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function pretty(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

// ---- schemas

function resolved(schema, api) {
  if (!schema.$ref) return { schema, name: "" };
  const name = schema.$ref.split("/").pop();
  return { schema: api.components.schemas[name], name };
}

function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.map(kind).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${kind(schema.items || {})}`;
  if (schema.additionalProperties) return `object of ${kind(schema.additionalProperties)}`;
  return schema.format || schema.contentEncoding || schema.type || "any";
}

function parts(schema) {
  return [...(schema.anyOf || []), ...(schema.oneOf || []), schema.items, schema.additionalProperties].filter(
    (part) => part && typeof part === "object",
  );
}

function schemaView(given, api, above = []) {
  const { schema, name } = resolved(given, api);
  if (above.includes(name)) return null;
  const names = name ? [...above, name] : above;
  const required = schema.required || [];
  const fields = Object.entries(schema.properties || {}).map(([field, inner]) =>
    element(
      "li",
      {},
      element("code", { textContent: field }),
      ` ${kind(inner)}${required.includes(field) ? "" : ", not always"}`,
      inner.description ? `: ${inner.description}` : null,
      schemaView(inner, api, names),
    ),
  );
  const nested = fields.length
    ? []
    : parts(schema)
        .map((part) => schemaView(part, api, names))
        .filter(Boolean);
  if (!fields.length && !nested.length) return null;
  return fields.length ? element("ul", {}, ...fields) : element("div", {}, ...nested);
}

function contentView(type, content, api) {
  const view = element(
    "div",
    {},
    element("p", {}, element("code", { textContent: type }), ` ${kind(content.schema || {})}`),
  );
  const fields = content.schema ? schemaView(content.schema, api) : null;
  if (fields) view.append(element("details", {}, element("summary", { textContent: "Fields" }), fields));
  for (const [name, example] of Object.entries(content.examples || {})) {
    view.append(
      element(
        "details",
        {},
        element("summary", { textContent: `Example: ${name}` }),
        element("pre", { textContent: pretty(example.value) }),
      ),
    );
  }
  return view;
}

function contentsView(contents, api) {
  return Object.entries(contents || {}).map(([type, content]) => contentView(type, content, api));
}

// ---- requests from this page

function parameterField(parameter) {
  const input = element("input", {
    type: parameter.schema.type === "integer" ? "number" : "text",
    required: Boolean(parameter.required),
  });
  const hint = parameter.description ? ` (${parameter.description})` : "";
  return {
    parameter,
    input,
    label: element("label", {}, element("code", { textContent: parameter.name }), `${hint} `, input),
  };
}

function bodyField(type, content) {
  if (type === "application/json") {
    const [example] = Object.values(content.examples || {});
    const text = element("textarea", { value: example ? pretty(example.value) : "", spellcheck: false });
    return { input: text, label: "JSON ", body: () => text.value };
  }
  const form = type === "multipart/form-data";
  const files = element("input", {
    type: "file",
    multiple: form,
    attributes: { accept: "image/jpeg,image/png,image/webp" },
  });
  const body = () => {
    if (!form) return files.files[0];
    const data = new FormData();
    for (const file of files.files) data.append("image", file, file.name);
    return data;
  };
  return { input: files, label: form ? "Photos " : "Photo ", body };
}

function bodyFields(requestBody) {
  const bodies = Object.entries(requestBody ? requestBody.content : {}).map(([type, content]) => ({
    type,
    ...bodyField(type, content),
  }));
  const place = element("div");
  const choice = element(
    "select",
    {},
    ...bodies.map((body, index) => element("option", { value: String(index), textContent: body.type })),
  );
  const show = () =>
    place.replaceChildren(
      element("label", {}, bodies[choice.selectedIndex].label, bodies[choice.selectedIndex].input),
    );
  choice.addEventListener("change", show);
  if (bodies.length) show();
  const labels = bodies.length ? [element("label", {}, "Body ", choice), place] : [];
  return { labels, chosen: () => bodies[choice.selectedIndex] };
}

function request(path, method, fields, body, secured) {
  const url = new URL(`.${path}`, document.baseURI);
  const headers = new Headers();
  for (const { parameter, input } of fields) {
    if (input.value === "") continue;
    if (parameter.in === "path")
      url.pathname = url.pathname.replace(encodeURI(`{${parameter.name}}`), encodeURIComponent(input.value));
    if (parameter.in === "query") url.searchParams.set(parameter.name, input.value);
    if (parameter.in === "header") headers.set(parameter.name, input.value);
  }
  if (secured) headers.set("Authorization", `Bearer ${document.querySelector("#token input").value}`);
  if (body && body.type === "application/json") headers.set("Content-Type", body.type);
  return [url, { method, headers, body: body ? body.body() : undefined }];
}

async function answerText(url, options) {
  try {
    const answer = await fetch(url, options);
    const text = await answer.text();
    const json = (answer.headers.get("Content-Type") || "").includes("json");
    return `${answer.status} ${answer.statusText}\n\n${json ? pretty(JSON.parse(text)) : text}`;
  } catch (error) {
    return `No answer: ${error.message}`;
  }
}

function tryView(path, method, operation) {
  const fields = (operation.parameters || []).map(parameterField);
  const body = bodyFields(operation.requestBody);
  const output = element("pre", {
    hidden: true,
    attributes: { role: "status", "aria-live": "polite", tabindex: "0" },
  });
  const send = element("button", { type: "submit", textContent: "Send" });
  const form = element("form", {}, ...fields.map(({ label }) => label), ...body.labels, send);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    output.hidden = false;
    output.textContent = "Waiting for the answer …";
    output.textContent = await answerText(
      ...request(path, method.toUpperCase(), fields, body.chosen(), Boolean(operation.security)),
    );
    send.disabled = false;
  });
  return element("div", {}, element("h4", { textContent: "Try it" }), form, output);
}

// ---- the page

function operationView(path, method, operation, api) {
  const summary = element(
    "summary",
    {},
    element("span", { className: "method", textContent: method.toUpperCase() }),
    element("code", { textContent: path }),
    ` ${operation.summary}`,
  );
  const inside = element("div", {}, element("p", { textContent: operation.description || "" }));
  if (operation.security) inside.append(element("p", { textContent: "Needs a key." }));
  if (operation.requestBody) {
    inside.append(
      element("h4", { textContent: "Body" }),
      element("p", { textContent: operation.requestBody.description || "" }),
      ...contentsView(operation.requestBody.content, api),
    );
  }
  for (const [status, response] of Object.entries(operation.responses)) {
    const title = status === "default" ? "Errors of any request" : `Answer ${status}`;
    inside.append(
      element("h4", { textContent: title }),
      element("p", { textContent: response.description }),
      ...contentsView(response.content, api),
    );
  }
  inside.append(tryView(path, method, operation));
  return element("details", { className: "operation" }, summary, inside);
}

function show(api) {
  document.querySelector("#description").textContent = `${api.info.description} Version ${api.info.version}.`;
  document.querySelector("#token").hidden = !(api.components.securitySchemes || {}).Bearer;
  const sections = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const [tag] = operation.tags;
      if (!sections.has(tag)) sections.set(tag, element("section", {}, element("h2", { textContent: tag })));
      sections.get(tag).append(operationView(path, method, operation, api));
    }
  }
  document.querySelector("#operations").replaceChildren(...sections.values());
}

fetch("openapi.json")
  .then((answer) => answer.json())
  .then(show)
  .catch((error) => {
    document.querySelector("#description").textContent =
      `The description of the API could not be read: ${error.message}`;
  });
