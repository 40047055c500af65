// Files of variables that containers write for others: a small part of a shell's syntax. Pure.

/** @throws Error naming the line that cannot be read */
export class EnvFileError extends Error {
  override readonly name = 'EnvFileError'
  constructor(line: number, problem: string) {
    super(`invalid environment variable format at line ${line}: ${problem}`)
  }
}

/**
 * The value of a key in lines such as `KEY='value' # why`; undefined when it has none. What is within single quotes stays as it is,
 * over several lines too. Blank lines and those that begin with `#` say nothing. Lines after the key are not looked at.
 * @throws EnvFileError
 */
export function valueInEnvFile(text: string, key: string): string | undefined {
  const lines = text.split(/\r?\n/)
  for (let at = 0; at < lines.length; at++) {
    const line = (lines[at] ?? '').replace(/^[ \t]+/, '')
    if (line === '' || line.startsWith('#')) continue
    const first = at + 1
    const fail = (problem: string): never => {
      throw new EnvFileError(first, problem)
    }
    const equals = line.indexOf('=')
    if (equals < 0) fail("missing '='")
    const name = line.slice(0, equals)
    if (name.trim() === '') fail('empty variable name')
    if (/[ \t]$/.test(name)) fail("whitespace before '=' is not allowed")
    let rest = line.slice(equals + 1)
    let value = ''
    if (rest.startsWith("'")) {
      rest = rest.slice(1)
      while (!rest.includes("'")) {
        if (at + 1 >= lines.length) fail('unclosed single quote')
        value += `${rest}\n`
        at++
        rest = lines[at] ?? ''
      }
      const end = rest.indexOf("'")
      value += rest.slice(0, end)
      if (!/^[ \t]*$|^[ \t]+#/.test(rest.slice(end + 1))) fail('unexpected content after the closing quote')
    } else if (!/^$|^[ \t]/.test(rest)) fail('the value must be enclosed in single quotes')
    if (name === key) return value
  }
  return undefined
}
