// Another machine beside the test's own.
import type { TestMachine } from './machine.ts'

/** Another machine, which the host has a link to. */
export function addClient({ host, pod, run }: TestMachine): { netns: string; ips: string[] } {
  const netns = pod('client')
  const ip = (where: string, ...args: string[]): string => run(where, 'ip', ...args)
  ip(host, 'link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns)
  for (const [where, link, number] of [
    [host, 'uplink', 1],
    [netns, 'eth0', 2],
  ] as const) {
    ip(where, 'addr', 'add', `10.99.0.${number}/24`, 'dev', link)
    ip(where, 'addr', 'add', `fd99::${number}/64`, 'dev', link, 'nodad')
    ip(where, 'link', 'set', link, 'up')
  }
  ip(netns, 'route', 'add', 'default', 'via', '10.99.0.1')
  ip(netns, '-6', 'route', 'add', 'default', 'via', 'fd99::1')
  return { netns, ips: ['10.99.0.2', 'fd99::2'] }
}
