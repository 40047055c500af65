// Writes objects until it is killed, and tells of each that is written.
import { openStore } from '../src/store.ts'

const store = openStore(process.argv[2] ?? '')
const write = (count: number): void => {
  store.put('configmaps', {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: `m${count}`, namespace: 'default' },
  })
  process.send?.(count)
  setImmediate(write, count + 1)
}
write(1)
