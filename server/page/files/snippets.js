// Snippets: the request of a photo as it is written elsewhere.

import { element } from "./element.js";
import { address } from "./server.js";

const GRPC_PORT = 8001; // the default: REST does not tell it

// query: model, version and, where a class was explained, class. name: of the photo's file.
export function snippets(name, query) {
  const asked = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== ""));
  return {
    curl: curl(name, asked),
    Python: python(name, asked),
    "gRPC, beside a copy of the folder proto": grpc(name, asked),
  };
}

function urls({ class: index, ...choice }) {
  const classify = address("classify", choice).href;
  if (index === undefined) return [classify];
  return [classify, address("explain", { ...choice, class: index, gates: "full" }).href];
}

function curl(name, query) {
  return urls(query)
    .map((url) => `curl --data-binary ${shell(`@${name}`)} ${shell(url)}`)
    .join("\n");
}

function python(name, query) {
  return `import json
import urllib.request
from pathlib import Path

photo = Path(${quoted(name)}).read_bytes()
for url in ${JSON.stringify(urls(query), null, 4).replace(/"\n\]/, '",\n]')}:
    request = urllib.request.Request(url, data=photo, headers={"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(json.dumps(json.load(answer), indent=1))`;
}

function grpc(name, { class: index, ...choice }) {
  const fields = ["image=photo", ...Object.entries(choice).map(([field, value]) => `${field}=${quoted(value)}`)];
  return `import sys
from pathlib import Path

import grpc

sys.path.append("proto")
messages, services = grpc.protos_and_services("sesame/v1/classifier.proto")
photo = Path(${quoted(name)}).read_bytes()
with ${channel(`${location.hostname}:${GRPC_PORT}`)} as channel:
    classifier = services.ImageClassifierStub(channel)
    request = messages.ClassifyRequest(${fields.join(", ")})
    print(classifier.Classify(request, timeout=30))${explained(index)}`;
}

// A server with TLS has it on both faces. A CA of its own has to be given as root_certificates.
function channel(target) {
  if (location.protocol !== "https:") return `grpc.insecure_channel("${target}")`;
  return `grpc.secure_channel("${target}", grpc.ssl_channel_credentials())`;
}

function explained(index) {
  if (index === undefined) return "";
  const fields = `photo=request, class_index=${index}, all_gates=True`;
  return `\n    print(classifier.Explain(messages.ExplainRequest(${fields}), timeout=30))`;
}

// A JSON string is a Python string too.
function quoted(text) {
  return JSON.stringify(text);
}

function shell(text) {
  return /^[\w@./:=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

export function snippetsView(name, query) {
  const blocks = Object.entries(snippets(name, query)).flatMap(([title, text]) => {
    const attributes = { role: "region", "aria-label": title };
    const code = element("pre", { textContent: text, tabIndex: 0, attributes });
    const copy = element("button", { type: "button", textContent: `Copy ${title.split(",")[0]}` });
    copy.addEventListener("click", async () => {
      copy.textContent = (await copied(code)) ? "Copied" : "Selected: copy it with Ctrl+C";
    });
    return [element("h4", { textContent: title }), code, copy];
  });
  return element("div", { className: "snippets" }, ...blocks);
}

// Without TLS a browser lets only its own machine's pages write to the clipboard: there the text is selected instead.
async function copied(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(code);
    return false;
  }
}
