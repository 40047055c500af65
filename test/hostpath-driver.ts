// `nodelet-csi-hostpath` from its source.
import { main } from '../packages/csi-node/src/hostpath/main.ts'

await main(process.argv.slice(2))
