// Asks the server. The access key's secret goes there once, at sign-in, and is kept nowhere.

// Proves that a request is of this page; the cookie that it belongs to is out of scripts' reach.
let token = '';

// Why something was not done.
export class Refusal extends Error {
  constructor({ code, message, request_id: requestId }, status) {
    super(message);
    this.code = code;
    this.requestId = requestId;
    this.status = status;
  }
}

export async function ask(name, members = {}) {
  const answer = await send(name, members);
  const body = await answer.json().catch(() => ({ code: 'Unreadable', message: '' }));
  if (answer.ok) return body;
  if (body.code === 'SessionEnded') document.dispatchEvent(new Event('session-ended'));
  throw new Refusal(body, answer.status);
}

async function send(name, members) {
  try {
    return await fetch(`/console/api/${name}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-console-token': token },
      body: JSON.stringify(members),
      credentials: 'same-origin',
      cache: 'no-store',
    });
  } catch {
    throw new Refusal({ code: 'Unreachable', message: '' }, 0);
  }
}

// The session that the browser has still, or nothing.
export async function resume() {
  try {
    return remember(await ask('Session'));
  } catch (error) {
    if (error.code === 'SessionEnded') return undefined;
    throw error;
  }
}

export async function signIn(id, secret) {
  return remember(await ask('SignIn', { id, secret }));
}

export async function signOut() {
  await ask('SignOut');
  token = '';
}

function remember(session) {
  token = session.token;
  return session;
}
