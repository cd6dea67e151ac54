// Uses OpenAI's JavaScript SDK as its documentation does, and prints what came back as one JSON object.
// Argument: a JSON object {base, key, chat, embed, missing, tools: [...]}. Each part that fails is told by its error.
import OpenAI from "openai";

const asked = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: asked.base, apiKey: asked.key, maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello." }];
const schema = {
  type: "object",
  properties: { word: { type: "string", enum: ["yes", "no"] } },
  required: ["word"],
  additionalProperties: false,
};
const weather = {
  name: "weather",
  description: "The weather of a place",
  parameters: { type: "object", properties: { place: { type: "string", enum: ["Porto", "Lyon"] } }, required: ["place"] },
};
const limits = { max_tokens: 24, temperature: 0 };

const parts = {
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return ids;
  },

  async chat() {
    const answer = await client.chat.completions.create({ model: asked.chat, messages, ...limits });
    const [choice] = answer.choices;
    return { text: choice.message.content, finish: choice.finish_reason, usage: answer.usage, id: answer._request_id };
  },

  async chat_stream() {
    const stream = await client.chat.completions.create({
      model: asked.chat, messages, ...limits, stream: true, stream_options: { include_usage: true },
    });
    let text = "", finish = null, usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      finish = chunk.choices[0]?.finish_reason ?? finish;
      usage = chunk.usage ?? usage;
    }
    return { text, finish, usage };
  },

  async chat_runner() {
    const stream = client.chat.completions.stream({ model: asked.chat, messages, ...limits });
    let heard = "";
    stream.on("content", (delta) => { heard += delta; });
    const final = await stream.finalChatCompletion();
    return { heard, text: final.choices[0].message.content };
  },

  async tools() {
    const answer = await client.chat.completions.create({
      model: asked.tools, messages: [{ role: "user", content: "Weather in Porto?" }], temperature: 0, max_tokens: 64,
      tools: [{ type: "function", function: weather }], tool_choice: { type: "function", function: { name: "weather" } },
    });
    const [call] = answer.choices[0].message.tool_calls;
    return { id: call.id, name: call.function.name, arguments: JSON.parse(call.function.arguments) };
  },

  async structured() {
    const answer = await client.chat.completions.parse({
      model: asked.structured, messages, ...limits,
      response_format: { type: "json_schema", json_schema: { name: "word", schema, strict: true } },
    });
    return JSON.parse(answer.choices[0].message.content);
  },

  async completion() {
    const answer = await client.completions.create({ model: asked.chat, prompt: "Once upon", ...limits });
    return answer.choices[0].text;
  },

  async embeddings() {
    const answer = await client.embeddings.create({ model: asked.embed, input: ["a", "b"] });
    return { count: answer.data.length, size: answer.data[0].embedding.length, kind: typeof answer.data[0].embedding[0] };
  },

  async response() {
    const answer = await client.responses.create({
      model: asked.chat, input: "Say hello.", instructions: "Be brief.", max_output_tokens: 24, temperature: 0,
    });
    return { text: answer.output_text, status: answer.status, total: answer.usage.total_tokens };
  },

  async response_stream() {
    const stream = await client.responses.create({
      model: asked.chat, input: "Say hello.", max_output_tokens: 24, temperature: 0, stream: true,
    });
    const types = [];
    let text = "", final = null;
    for await (const event of stream) {
      if (types.at(-1) !== event.type) types.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
      if (event.type === "response.completed" || event.type === "response.incomplete") final = event.response;
    }
    return { types, text, final: final.output[0].content[0].text };
  },

  async response_tools() {
    const tools = [{ type: "function", strict: true, ...weather }];
    const input = [{ role: "user", content: "Weather in Porto?" }];
    const answer = await client.responses.create({
      model: asked.tools, input, tools, tool_choice: { type: "function", name: "weather" }, temperature: 0, max_output_tokens: 64,
    });
    const call = answer.output.find((item) => item.type === "function_call");
    input.push(...answer.output, { type: "function_call_output", call_id: call.call_id, output: "sun" });
    const after = await client.responses.create({ model: asked.tools, input, temperature: 0, max_output_tokens: 16 });
    return { name: call.name, arguments: JSON.parse(call.arguments), after: after.status };
  },

  async missing() {
    try {
      await client.chat.completions.create({ model: asked.missing, messages });
    } catch (error) {
      return { not_found: error instanceof OpenAI.NotFoundError, status: error.status, code: error.code, param: error.param };
    }
    return null;
  },

  async bad() {
    try {
      await client.chat.completions.create({ model: asked.chat, messages, temperature: 9 });
    } catch (error) {
      return { bad_request: error instanceof OpenAI.BadRequestError, code: error.code, param: error.param };
    }
    return null;
  },

  async wrong_key() {
    try {
      await new OpenAI({ baseURL: asked.base, apiKey: "nobody", maxRetries: 0 }).models.list();
    } catch (error) {
      return { unauthenticated: error instanceof OpenAI.AuthenticationError, code: error.code };
    }
    return null;
  },
};

const seen = {};
for (const name of asked.parts ?? Object.keys(parts)) {
  try {
    seen[name] = await parts[name]();
  } catch (error) {
    seen[name] = { failed: String(error?.stack ?? error) };
  }
}
console.log(JSON.stringify(seen));
