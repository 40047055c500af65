// What `/logs/?query=…` asks for of the node's services, and how journalctl is asked for it. Pure.
import { HttpError } from './http-error.ts'
import { integerOf, rfc3339Ms } from './log-options.ts'

/** One file below the log folder, or the logs of some services. */
export interface LogQuery {
  file?: string
  services: readonly string[]
  options: LogQueryOptions
}

/** Which lines of a service; absent is not limited. */
export interface LogQueryOptions {
  sinceMs?: number
  untilMs?: number
  tailLines?: number
  /** 0: since the machine started; -1: the time before, and so on. */
  boot?: number
  /** A Perl-compatible regular expression that messages must match. */
  pattern?: string
}

const mostServices = 4
const longestService = 256
const mostLines = 100_000

/**
 * @returns undefined when nothing is asked: the request is one for a file or a folder then
 * @throws HttpError 400 for what cannot be read, 406 for what is refused, as the Go kubelet does
 */
export function parseLogQuery(params: URLSearchParams): LogQuery | undefined {
  const asked = params.getAll('query')
  const files = asked.filter(isFile)
  const services = asked.filter((one) => !isFile(one) && one.trim() !== '')
  const unreadable: string[] = []
  if (asked.length > 0 && files.length + services.length === 0) {
    unreadable.push(invalid('query', asked, 'query cannot be empty'))
  }
  const read = <T>(name: string, parse: (text: string) => T | undefined, problem: string): T | undefined => {
    const text = params.get(name) ?? ''
    const value = text === '' ? undefined : parse(text)
    if (text !== '' && value === undefined) unreadable.push(invalid(name, text, problem))
    return value
  }
  const sinceMs = read('sinceTime', rfc3339Ms, 'invalid time format')
  const untilMs = read('untilTime', rfc3339Ms, 'invalid time format')
  const boot = read('boot', integerOf, 'is not an integer')
  const tailLines = read('tailLines', integerOf, 'is not an integer')
  const pattern = params.get('pattern') || undefined
  if (unreadable.length > 0) throw new HttpError(400, together(unreadable))
  const options = {
    ...(sinceMs !== undefined && { sinceMs }),
    ...(untilMs !== undefined && { untilMs }),
    ...(tailLines !== undefined && { tailLines }),
    ...(boot !== undefined && { boot }),
    ...(pattern !== undefined && { pattern }),
  }
  if (asked.length === 0 && isEmpty(options)) return undefined
  const problems = [...problemsOfNames(files, services, isEmpty(options)), ...problemsOfOptions(options, params)]
  if (problems.length > 0) throw new HttpError(406, together(problems))
  const [file] = files
  return { services, options, ...(file !== undefined && { file: file.replaceAll('\\', '/') }) }
}

/** Files do not know options. */
export const isEmpty = (options: LogQueryOptions): boolean => Object.keys(options).length === 0

const isFile = (name: string): boolean => /[/\\]/.test(name)

const invalid = (field: string, value: unknown, problem: string): string =>
  `${field}: Invalid value: ${JSON.stringify(value)}: ${problem}`

const together = (problems: readonly string[]): string =>
  problems.length === 1 ? problems.join() : `[${problems.join(', ')}]`

function problemsOfNames(files: readonly string[], services: readonly string[], hasNoOptions: boolean): string[] {
  const problems = services.flatMap((name) => {
    if (name.length > longestService) return invalid('query', name, `length must be at most ${longestService}`)
    // Nothing that journalctl could take for something else than a unit, such as a pattern of units.
    return /^[a-zA-Z0-9_@.:-]+$/.test(name) ? [] : invalid('query', name, 'input contains unsupported characters')
  })
  if (services.length > mostServices) {
    problems.push(`query: Too many: ${services.length}: must have at most ${mostServices} items`)
  }
  if (files.length + services.length === 0) problems.push('query: Required value: cannot be empty with options')
  else if (files.length > 0 && services.length > 0) {
    problems.push(invalid('query', [...files, ...services], 'cannot specify a file and service'))
  } else if (files.length > 1) problems.push(invalid('query', files, 'cannot specify more than one file'))
  else if (files.length === 1 && !hasNoOptions) {
    problems.push(invalid('query', files, 'cannot specify file with options'))
  }
  return problems
}

function problemsOfOptions(options: LogQueryOptions, params: URLSearchParams): string[] {
  const { sinceMs = -Infinity, untilMs = Infinity, boot = 0, tailLines = 0, pattern = '' } = options
  return [
    ...(sinceMs > untilMs ? [invalid('untilTime', params.get('untilTime'), 'must be after `sinceTime`')] : []),
    ...(boot > 0 ? [invalid('boot', boot, 'must be less than 1')] : []),
    ...(tailLines < 0 || tailLines > mostLines
      ? [invalid('tailLines', tailLines, `must be between 0 and ${mostLines}, inclusive`)]
      : []),
    ...(isPattern(pattern) ? [] : [invalid('pattern', pattern, 'is not a regular expression')]),
  ]
}

/** Whether it may be one of PCRE2: flags and names of groups are written there as JavaScript has them not. */
function isPattern(text: string): boolean {
  if (text.includes('\0')) return false
  try {
    new RegExp(
      text
        .replaceAll(/\(\?[a-zA-Z^-]*\)/g, '')
        .replaceAll(/\(\?[a-zA-Z^-]*:/g, '(?:')
        .replaceAll('(?P<', '(?<'),
    )
    return true
  } catch {
    // What it says speaks of JavaScript's own expressions.
    return false
  }
}

/** What journalctl is called with. @param services at least one: without a unit it shows all there is */
export function journalArguments(services: readonly string[], options: LogQueryOptions): string[] {
  const { sinceMs, untilMs, tailLines, boot, pattern } = options
  const time = (ms: number): string => `${new Date(ms).toISOString().replace('T', ' ').replace('Z', '')} UTC`
  return [
    '--utc',
    '--no-pager',
    '--output=short-precise',
    ...(sinceMs === undefined ? [] : [`--since=${time(sinceMs)}`]),
    ...(untilMs === undefined ? [] : [`--until=${time(untilMs)}`]),
    ...(tailLines === undefined ? [] : [`--lines=${tailLines}`]),
    ...services.map((name) => `--unit=${name}`),
    ...(pattern === undefined ? [] : [`--grep=${pattern}`]),
    ...(boot === undefined ? [] : [`--boot=${boot}`]),
  ]
}
