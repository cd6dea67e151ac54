/** The platform's public API, asked with the session's cookie. The header tells the gateway that it was this page. */
import { session } from "./session.svelte";

const HEADERS = { "x-headrace-console": "1" };

/** What the platform answered when it did not do what was asked. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
  ) {
    super(message);
  }
}

export interface Sent {
  method?: "GET" | "POST" | "DELETE";
  body?: unknown;
  signal?: AbortSignal;
}

/** The raw response of a request that went well. Throws ApiError. */
export async function send(path: string, { method = "GET", body, signal }: Sent = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      signal,
      headers: body === undefined ? HEADERS : { ...HEADERS, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The platform cannot be reached. Is it running?", 0, "unreachable");
  }
  if (response.ok) return response;
  const said = (await response.json().catch(() => null)) as { error?: { message?: string; code?: string } } | null;
  const error = new ApiError(
    said?.error?.message ?? `The platform answered ${response.status}.`,
    response.status,
    said?.error?.code ?? "",
  );
  if (error.status === 401 && path !== "/console/session") session.ended();
  throw error;
}

/** The JSON answer. Throws ApiError. */
export async function ask<T>(path: string, sent: Sent = {}): Promise<T> {
  return (await (await send(path, sent)).json()) as T;
}

/** A path with a query; empty values are left out. */
export function withQuery(path: string, query: Record<string, string | number | undefined>): string {
  const kept = Object.entries(query).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [[name, String(value)]],
  );
  return kept.length ? `${path}?${new URLSearchParams(kept)}` : path;
}
