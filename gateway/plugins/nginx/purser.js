// Purser's gateway for nginx: asks the portal before each call, with its model and a bound of its input, holds
// the provider to what the portal allows, and takes usage and service class out of the answer for the log.
// docs/gateways/nginx.md says what passes. Written for njs 0.7.9, which Debian 12 has.
import crypto from 'crypto';
import models from 'purser_models.js';

const AUTHORIZE = '/gateway/v1/authorize';
const TAIL_BYTES = 65536;  // the usage stands at the end of an answer
const TOOLS_OVERHEAD_BYTES = 1024, TURN_OVERHEAD_BYTES = 64;  // what providers add to a prompt
const COMMON = ['model', 'stream', 'stream_options', 'user', 'safety_identifier', 'prompt_cache_key', 'temperature',
                'top_p', 'seed', 'stop', 'presence_penalty', 'frequency_penalty', 'logit_bias', 'n', 'max_tokens'];
// Fields pass by name alone: one that nobody knows could make a call dearer than it was allowed to be.
const ROUTES = {
    '/v1/chat/completions': {
        limits: ['max_completion_tokens', 'max_tokens'],
        fields: COMMON.concat(['messages', 'max_completion_tokens', 'logprobs', 'top_logprobs', 'response_format', 'tools',
                               'tool_choice', 'parallel_tool_calls', 'reasoning_effort', 'verbosity']),
    },
    '/v1/completions': {limits: ['max_tokens'], fields: COMMON.concat(['prompt', 'suffix', 'logprobs'])},
    '/v1/embeddings': {limits: [], fields: ['model', 'input', 'encoding_format', 'dimensions', 'user']},
};
const RELAYED = [400, 403, 404, 413, 422, 429];

let tail = Buffer.alloc(0);

async function decide(r) {
    const route = ROUTES[r.uri];
    if (r.method !== 'POST' || !route) {
        return refuse(r, 403, 'route_not_allowed', 'This gateway serves ' + Object.keys(ROUTES).join(', ') + ' by POST.');
    }
    let asked;
    try {
        asked = JSON.parse(r.requestText);
    } catch (e) {
        return refuse(r, 400, 'invalid_request', 'The body is not JSON.');
    }
    const fault = faultOf(asked, route);
    if (fault) {
        return refuse(r, 400, 'invalid_request', fault);
    }
    r.variables.purser_model = asked.model;
    if (!Object.keys(models).includes(asked.model)) {
        return refuse(r, 404, 'model_unknown', 'This gateway does not serve the model ' + asked.model + '.');
    }
    const served = models[asked.model];
    if (!served.routes.includes(r.uri)) {
        return refuse(r, 403, 'route_not_allowed', 'This gateway serves ' + asked.model + ' at ' + served.routes.join(', ') + ' alone.');
    }
    const question = JSON.stringify({
        request_id: r.variables.request_id, key: keyOf(r), model: asked.model, route: r.uri,
        project_id: r.headersIn['X-Project-Id'] || null, input_bytes: inputBytes(r, asked),
        max_output_tokens: askedLimit(asked, route), n: asked.n || 1, stream: !!asked.stream,
    });
    sign(r, question);
    const reply = await r.subrequest('/_purser_authorize', {method: 'POST', body: question});
    if (reply.status !== 200) {
        return relay(r, reply);
    }
    const answer = JSON.parse(reply.responseText);
    r.variables.purser_reservation = answer.reservation;
    r.variables.purser_key = answer.key_id;
    r.variables.purser_warnings = answer.warnings.filter((warning) => warning.code === 'soft_exceeded')
        .map((warning) => warning.code + ' ' + warning.budget).join(', ');
    r.variables.purser_body = JSON.stringify(bounded(asked, route, answer.max_output_tokens));
    r.internalRedirect(served.at);
}

// What of a body cannot be passed on, in words; empty when all of it can.
function faultOf(asked, route) {
    if (asked === null || typeof asked !== 'object' || Array.isArray(asked) || typeof asked.model !== 'string') {
        return 'The body must be an object with a model.';
    }
    const odd = Object.keys(asked).find((name) => !route.fields.includes(name));
    if (odd) {
        return 'This gateway does not pass the field ' + odd + '.';
    }
    const wrong = route.limits.concat(['n']).find((name) => name in asked && asked[name] !== null && !isCount(asked[name]));
    if (wrong) {
        return wrong + ' must be a whole number from 1 on.';
    }
    const turns = asked.messages || [];
    if (!Array.isArray(turns) || turns.some((turn) => !isText(turn))) {
        return 'This gateway passes messages of text alone: what is not in the body cannot be bounded.';
    }
    if ('prompt' in asked && typeof asked.prompt !== 'string') {
        return 'This gateway passes one prompt a call, as text: each would have the output of its own.';
    }
    const tools = asked.tools || [];
    if (!Array.isArray(tools) || tools.some((tool) => !tool || !['function', 'custom'].includes(tool.type))) {
        return 'This gateway passes functions alone as tools: what else a tool costs is not bounded.';
    }
    return '';
}

function isCount(value) {
    return typeof value === 'number' && value >= 1 && value === Math.floor(value);
}

function isText(turn) {
    const content = turn ? turn.content : undefined;
    return !!turn && typeof turn === 'object' && !('audio' in turn) && (content === undefined || content === null
        || typeof content === 'string' || Array.isArray(content) && content.every((part) => part && ['text', 'refusal'].includes(part.type)));
}

function keyOf(r) {
    return (r.headersIn['Authorization'] || '').replace(/^Bearer /i, '') || r.headersIn['X-Api-Key'] || '';
}

// UTF-8 bytes bound the tokens of byte-level encodings from above.
function inputBytes(r, asked) {
    const turns = asked.messages ? asked.messages.length : 1;
    return r.requestBuffer.length + turns * TURN_OVERHEAD_BYTES + (asked.tools ? TOOLS_OVERHEAD_BYTES : 0);
}

function askedLimit(asked, route) {
    const given = route.limits.map((name) => asked[name]).filter((limit) => isCount(limit));
    return given.length ? Math.max.apply(null, given) : null;
}

// The body as the provider gets it: its own name of the model, at most the output that is held, and usage in a stream.
function bounded(asked, route, most) {
    asked.model = models[asked.model].name;
    const given = route.limits.filter((name) => isCount(asked[name]));
    if (most !== null) {
        given.forEach((name) => { asked[name] = Math.min(asked[name], most); });
        if (!given.length && route.limits.length) {
            asked[route.limits[0]] = most;
        }
    }
    if (asked.stream) {
        asked.stream_options = Object.assign({}, asked.stream_options, {include_usage: true});
    }
    return asked;
}

function sign(r, body) {
    const at = String(Math.floor(Date.now() / 1000)), nonce = r.variables.request_id;
    const digest = crypto.createHash('sha256').update(body).digest('hex');
    const message = ['v1', 'POST', AUTHORIZE, at, nonce, digest].join('\n');
    r.variables.purser_timestamp = at;
    r.variables.purser_nonce = nonce;
    r.variables.purser_signature = 'v1=' + crypto.createHmac('sha256', process.env.PURSER_GATEWAY_SECRET).update(message).digest('hex');
}

// The portal's own refusal, as it is. All else fails closed: the client's key is not at fault.
function relay(r, reply) {
    const text = reply.responseText || '';
    let code = '';
    try {
        code = JSON.parse(text).code || '';
    } catch (e) {
        // no answer of the portal's
    }
    if (!(code && RELAYED.includes(reply.status)) && !(reply.status === 401 && code === 'invalid_api_key')) {
        r.error('purser: no decision, status ' + reply.status + ' ' + code);
        return refuse(r, 503, 'decision_unavailable', 'No decision could be made. Try again.');
    }
    ['Retry-After', 'X-Should-Retry'].forEach((name) => {
        if (reply.headersOut[name]) {
            r.headersOut[name] = reply.headersOut[name];
        }
    });
    r.variables.purser_denied = code;
    r.headersOut['Content-Type'] = 'application/problem+json';
    r.return(reply.status, text);
}

function refuse(r, status, code, detail) {
    if (status === 503) {
        r.headersOut['Retry-After'] = '1';
    }
    r.variables.purser_denied = code;
    r.headersOut['Content-Type'] = 'application/problem+json';
    r.return(status, JSON.stringify({
        type: 'urn:purser:problem:' + code, title: code, status: status, code: code, detail: detail,
        error: {message: detail, type: code, param: null, code: code},
    }));
}

// Passes every chunk on as it is, and keeps the end: the last usage of an answer or a stream is what it cost.
function usage(r, data, flags) {
    r.sendBuffer(data, flags);
    tail = Buffer.concat([tail, data]);
    if (tail.length > TAIL_BYTES) {
        tail = tail.slice(tail.length - TAIL_BYTES);
    }
    if (flags.last) {
        const text = tail.toString();
        r.variables.purser_usage = lastUsage(text);
        r.variables.purser_tier = lastTier(text);
    }
}

function lastUsage(text) {
    for (let at = text.lastIndexOf('"usage"'); at >= 0; at = at ? text.lastIndexOf('"usage"', at - 1) : -1) {
        const found = objectAfter(text, at + 7);
        if (found) {
            return found;
        }
    }
    return '';
}

// The service class that the provider says it answered in; what is quoted in an answer has its quotes escaped.
function lastTier(text) {
    for (let at = text.lastIndexOf('"service_tier"'); at >= 0; at = at ? text.lastIndexOf('"service_tier"', at - 1) : -1) {
        const found = /^\s*:\s*"([A-Za-z0-9_.-]{1,32})"/.exec(text.slice(at + 14, at + 64));
        if (found) {
            return found[1];
        }
    }
    return '';
}

// The object that follows `:` at a place, as text; empty where something else does, such as null.
function objectAfter(text, at) {
    const start = /^\s*:\s*\{/.exec(text.slice(at, at + 64));
    if (!start) {
        return '';
    }
    const from = at + start[0].length - 1;
    let depth = 0;
    for (let end = from; end < text.length; end++) {
        depth += text[end] === '{' ? 1 : text[end] === '}' ? -1 : 0;
        if (!depth) {
            return text.slice(from, end + 1);
        }
    }
    return '';
}

// The key of whoever serves the model; of a call that is not decided yet there is none.
function providerKey(r) {
    const served = models[r.variables.purser_model];
    return 'Bearer ' + (served && process.env[served.key] || '');
}

export default {decide, usage, providerKey};
