// What a resolver's file tells pods. Pure. @see resolv.conf(5)
import type { CniResult } from '../../types.ts'

/** As the reference plugin reads it: several lines add up, of `domain` the last counts, what is not known is passed over. */
export function parseResolvConf(text: string): CniResult['dns'] {
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/))
  const first = (keyword: string): string[] =>
    lines.flatMap(([word, value]) => (word === keyword && value !== undefined ? [value] : []))
  const all = (keyword: string): string[] => lines.flatMap(([word, ...values]) => (word === keyword ? values : []))
  const [nameservers, domain, search, options] = [
    first('nameserver'),
    first('domain').at(-1),
    all('search'),
    all('options'),
  ]
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== undefined && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  }
}
