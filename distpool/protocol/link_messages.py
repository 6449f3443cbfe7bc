"""The messages that may come by each way between machines. Whoever reads no such way does without most of them."""

from __future__ import annotations

from distpool.protocol.cluster import (
    AskLog,
    AskStacks,
    AskStatus,
    DownSaid,
    DrainNode,
    DrainTold,
    EndGroup,
    Enrol,
    Enrolled,
    FromWorker,
    Greeting,
    HeadKeyChanges,
    LeaseGranted,
    LeaseUnused,
    LeaveCluster,
    LetIn,
    Listens,
    NodeDrains,
    NodeGone,
    OpenGroup,
    Refused,
    RequestsDropped,
    RequestsWait,
    RevokeLease,
    StoreUse,
    ToWorker,
    UpSaid,
    UseLease,
    WantToLeave,
    Welcome,
    WorkerPrinted,
)
from distpool.protocol.code import (
    CodePiece,
    GroupFailed,
    NeedCode,
)
from distpool.protocol.inquiries import NodeTold
from distpool.protocol.messages import (
    CallsDone,
    EndWorker,
    ExitWorker,
    GrantLease,
    GroupGone,
    InterruptWorker,
    LeaseLost,
    LeaseStarted,
    RegisterNode,
    RequestLeases,
    ReturnLease,
    RunCalls,
    StopGroup,
    StreamItems,
    TakeBack,
    TakenBack,
    WorkerLogged,
    WorkerReady,
    WorkerUnusable,
)
from distpool.protocol.names import (
    ActorStarted,
    ActorTold,
    CallActor,
    CancelActorCall,
    ClaimName,
    EndActor,
    FindName,
    FreeName,
    NameTold,
    StartActor,
)
from distpool.protocol.objects import BringSoon, ForeignKept, ForgetObjects, ReleaseObjects, WantTransfers
from distpool.protocol.placing import ClosePlaces, LeaseWaits, OpenPlaces, PlacesTold, RequestsRefused
from distpool.protocol.standing import StatusTold

LINK_MESSAGES = (
    RegisterNode
    | RequestLeases
    | GrantLease
    | LeaseStarted
    | LeaseLost
    | ReturnLease
    | GroupGone
    | StopGroup
    | EndWorker
    | InterruptWorker
    | Greeting
    | Welcome
    | Refused
    | LeaveCluster
    | AskStatus
    | StatusTold
    | AskLog
    | AskStacks
    | NodeTold
    | Enrol
    | Enrolled
    | HeadKeyChanges
    | Listens
    | LetIn
    | LeaseGranted
    | NodeGone
    | EndGroup
    | RequestsDropped
    | RequestsWait
    | RequestsRefused
    | RevokeLease
    | LeaseWaits
    | OpenPlaces
    | PlacesTold
    | ClosePlaces
    | LeaseUnused
    | WantToLeave
    | DrainNode
    | DrainTold
    | NodeDrains
    | OpenGroup
    | UseLease
    | ToWorker
    | FromWorker
    | WantTransfers
    | BringSoon
    | StoreUse
    | ReleaseObjects
    | ForgetObjects
    | ForeignKept
    | NeedCode
    | CodePiece
    | GroupFailed
    | ClaimName
    | FindName
    | NameTold
    | FreeName
    | CallActor
    | ActorTold
    | CancelActorCall
    | EndActor
    | StartActor
    | ActorStarted
)
TO_WORKER = RunCalls | ExitWorker | TakeBack | DownSaid
FROM_WORKER = WorkerReady | WorkerUnusable | CallsDone | TakenBack | WorkerLogged | WorkerPrinted | UpSaid | StreamItems
