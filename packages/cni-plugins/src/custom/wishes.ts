// What a custom plugin asks of the machine while it works on a call, at both ends.
import { CniError, cniCode } from '../errors.ts'
import { parseResult } from '../libcni/parse-result.ts'
import { errorObject } from '../sdk/execute.ts'
import type { Host, Plugin, PluginRequest } from '../types.ts'
import type { Wish } from './messages.ts'

/** Grants a wish by the host of the call. Gives what the answer says. */
export async function grant(
  wish: Wish,
  host: Host,
  signal: AbortSignal,
): Promise<{ result?: unknown; error?: object }> {
  try {
    return { result: await granted(wish, host, signal) }
  } catch (error) {
    return { error: errorObject(error, '') }
  }
}

async function granted(wish: Wish, host: Host, signal: AbortSignal): Promise<unknown> {
  if (wish.verb === 'settleRules') return host.settleRules(signal)
  const plugin = host.plugin(wish.type)
  switch (wish.verb) {
    case 'versions':
      return plugin.versions(host, signal)
    case 'status':
      return plugin.status(wish.config, host, signal)
    case 'gc':
      return plugin.gc(wish.config, wish.valid, host, signal)
    case 'add':
    case 'check':
    case 'del':
      return plugin[wish.verb](requestOf(wish.request), host, signal)
    default:
      wish satisfies never
  }
}

function requestOf({ prevResult, ...request }: (Wish & { verb: 'add' })['request']): PluginRequest {
  if (prevResult === undefined) return request
  return { ...request, prevResult: parseResult('prevResult', prevResult, request.config.cniVersion) }
}

/** What an answer says. @throws CniError that it has instead */
export function answered({ result, error }: { result?: unknown; error?: object }): unknown {
  if (error === undefined) return result
  const { code, msg, details } = error as { code: number; msg: string; details?: string }
  throw new CniError(code, msg, { details })
}

/** A plugin that is called by wishes. */
export function wishedPlugin(type: string, ask: (wish: Wish, signal: AbortSignal) => Promise<unknown>): Plugin {
  const of =
    (verb: 'add' | 'check' | 'del') =>
    async (request: PluginRequest, _: Host, signal: AbortSignal): Promise<unknown> =>
      ask({ verb, type, request: { ...request } }, signal)
  const add = of('add')
  const check = of('check')
  const del = of('del')
  return {
    versions: async (_, signal) => (await ask({ verb: 'versions', type }, signal)) as readonly string[] | undefined,
    add: async (request, host, signal) =>
      parseResult(`plugin "${type}"`, await add(request, host, signal), request.config.cniVersion),
    check: async (...call) => void (await check(...call)),
    del: async (...call) => void (await del(...call)),
    gc: async (config, valid, _, signal) => void (await ask({ verb: 'gc', type, config, valid: [...valid] }, signal)),
    status: async (config, _, signal) => void (await ask({ verb: 'status', type, config }, signal)),
  }
}

/** Of a call that is over nothing can be asked any more. */
export const tooLate: { error: object } = {
  error: errorObject(new CniError(cniCode.internal, 'the call is over that this was asked for'), ''),
}
